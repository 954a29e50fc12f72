"""What any long training process needs: ranks, deadlines, signals, locks, atomic files, checkpoints, progress."""
