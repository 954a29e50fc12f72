"""Commands that train several runs: sweeps of a preset, cross-validation, cross-fitted teachers."""
