"""The latest seconds of a source, in bounded memory."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Ring:
    """A ring buffer of samples.

    Parameters
    ----------
    seconds : that are kept, at least; the latest array is kept whole.
    rate : Hz.

    Attributes
    ----------
    end : samples so far.
    """

    def __init__(self, seconds: float, rate: float) -> None:
        self.kept, self.rate = round(seconds * rate), rate
        self.end = self.held = 0
        self._blocks = deque[NDArray[Any]]()

    def add(self, block: NDArray[Any]) -> None:
        """Add the next samples, [samples] or [samples, channels]."""
        while self._blocks and self.held - len(self._blocks[0]) >= self.kept:
            self.held -= len(self._blocks.popleft())
        self._blocks.append(block)
        self.end += len(block)
        self.held += len(block)

    def cut(self, start: float, stop: float) -> NDArray[Any]:
        """The samples between two times in seconds, as far as they are kept.

        If the number of channels changes between them, only those in the latest format.
        """
        first = self.end - self.held
        parts = list[NDArray[Any]]()
        for block in self._blocks:
            begin, end = (max(0, round(time * self.rate) - first) for time in (start, stop))
            if len(part := block[begin:end]):
                parts.append(part)
            first += len(block)
        fitting = [part for part in parts if part.shape[1:] == parts[-1].shape[1:] and part.dtype == parts[-1].dtype]
        return np.concatenate(fitting) if fitting else np.zeros(0, np.float32)
