"""Evaluation of runs and models: one module per command of ``sedkit-train evaluate``."""
