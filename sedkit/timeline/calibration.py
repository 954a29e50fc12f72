"""Tag scores as probabilities: what a model file says of how often its scores are right, applied.

A clip's score is the mean over its segments, quiet ones included, so it lies below the share of such clips in which
the class is heard. Platt scaling (Platt, 1999) on the log-odds of the score mends that, class by class::

    p' = sigmoid(slope * log(p / (1 - p)) + offset)

It keeps the order of recordings within a class, and 0 and 1 as they are: silence stays exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Calibration:
    """Platt scaling.

    Attributes
    ----------
    slope : one a class, above 0.
    offset : one a class.
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated scores of raw ones, [..., classes] in [0, 1]."""
        present = scores**self.slope
        absent = (1 - scores) ** self.slope * np.exp(-self.offset)
        return np.asarray(present / (present + absent), np.float64)

    @classmethod
    def read(cls, value: Mapping[str, Any], columns: Sequence[int]) -> Calibration | None:
        """That of some classes from ``sedkit.timeline.calibration`` of a model (sedkit.contract); None for kind ``none``."""
        if value["kind"] == "none":
            return None
        return cls(np.array(value["slope"], np.float64)[columns], np.array(value["offset"], np.float64)[columns])
