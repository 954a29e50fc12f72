"""What networks are trained towards: Eqs. 2 and 6, teacher scores on disk, online distillation, segment targets."""
