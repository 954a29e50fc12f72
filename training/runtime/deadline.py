"""The time limit of a run (``--stop-after``): no step starts that would probably not finish in time."""

from __future__ import annotations

import math
import time

from training.runtime import distributed


class Stopped(Exception):
    """The time limit of the run is reached. All completed work is saved."""


class Deadline:
    """A limit of ``seconds`` after ``started``, a ``time.monotonic()`` value (default: now). Rank 0's clock decides."""

    def __init__(self, seconds: float = math.inf, started: float | None = None) -> None:
        self.at = (time.monotonic() if started is None else started) + seconds

    def fits(self, seconds: float) -> bool:
        """Whether a step of ``seconds`` would finish in time. The answer is the same on every rank."""
        return math.isinf(self.at) or distributed.rank_0_decides(time.monotonic() + seconds <= self.at)

    def check(self, seconds: float) -> None:
        """Call this before a step of ``seconds``.

        Raises
        ------
        Stopped
            If the step would not finish in time.
        """
        if not self.fits(seconds):
            raise Stopped
