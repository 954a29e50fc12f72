"""The time given to a run: nothing is begun that would probably not end before it is over."""

from __future__ import annotations

import math
import time

from training.runtime import distributed


class Stopped(Exception):
    """The time given to the run is over; what was done is kept."""


class Deadline:
    """``seconds`` from ``started`` (``time.monotonic()``) on, as rank 0 sees the clock."""

    def __init__(self, seconds: float = math.inf, started: float | None = None) -> None:
        self.at = (time.monotonic() if started is None else started) + seconds

    def fits(self, work: float) -> bool:
        """Would ``work`` seconds of it end in time? The same answer on every rank."""
        return math.isinf(self.at) or distributed.decided(time.monotonic() + work <= self.at)

    def check(self, work: float) -> None:
        """Before ``work`` seconds of it.

        Raises
        ------
        Stopped
            If they do not fit.
        """
        if not self.fits(work):
            raise Stopped
