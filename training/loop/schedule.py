"""The course of the learning rate, as a share of its peak."""

from __future__ import annotations

import math

from training.loop.settings import Schedule

RISE = {"cosine": 0.1, "one-cycle": 0.3, "constant": 0.0}  # default share of the steps in which it rises
START = 1 / 25  # of the peak: where one-cycle begins


def learning_rate_factor(schedule: Schedule, warmup: float, progress: float) -> float:
    """Share of the peak learning rate at ``progress`` in [0, 1) of all steps of a network.

    It rises for ``warmup`` of the steps; then

    - ``cosine`` falls along a half cosine to 0, after a linear rise;
    - ``one-cycle`` does the same after a rise along a half cosine from 1/25 (Smith and Topin, 2018);
    - ``constant`` stays, after a linear rise.
    """
    if progress < warmup:
        if schedule == "one-cycle":
            return START + (1 - START) * (0.5 - 0.5 * math.cos(math.pi * progress / warmup))
        return (progress + 1e-3) / (warmup + 1e-3)
    if schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warmup) / (1 - warmup))
