"""The course of the learning rate, as a share of its peak."""

from __future__ import annotations

import math

from training.loop.settings import Schedule

RISE = {"cosine": 0.1, "constant": 0.0}  # default share of the steps in which it rises


def learning_rate_factor(schedule: Schedule, warmup: float, progress: float) -> float:
    """Share of the peak learning rate at ``progress`` in [0, 1) of all steps of a network.

    It rises linearly for ``warmup`` of the steps. Then ``cosine`` falls along a half cosine to 0; ``constant`` stays at 1.
    """
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    if schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warmup) / (1 - warmup))
