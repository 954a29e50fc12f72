"""Support for long-running commands: ranks, deadlines, signals, locks, atomic files, checkpoints, progress."""
