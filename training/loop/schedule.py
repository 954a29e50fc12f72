"""The learning-rate schedule, as a share of the peak rate."""

from __future__ import annotations

import math

from training.loop.settings import Schedule

WARMUP = {"cosine": 0.1, "constant": 0.0}  # default share of the steps in which the rate rises


def learning_rate_factor(schedule: Schedule, warmup: float, progress: float) -> float:
    """Share of the peak learning rate at ``progress`` in [0, 1), the share of the steps that are done.

    The rate rises linearly for the share ``warmup`` of the steps. Then ``cosine`` falls to 0 along a half cosine, and
    ``constant`` stays at the peak.
    """
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    if schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warmup) / (1 - warmup))
