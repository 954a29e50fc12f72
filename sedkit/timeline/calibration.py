"""Calibration of tag scores to probabilities, with the parameters in the model file.

A clip score is a mean over segments, so it is usually lower than the probability that the clip contains the class.
Platt scaling (Platt, 1999) of the log-odds corrects this, class by class::

    p' = sigmoid(slope * log(p / (1 - p)) + offset)

The slope is positive, so the order of recordings within a class does not change. 0 and 1 do not change either: silence
keeps a score of exactly 0.
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
    slope : [classes], > 0.
    offset : [classes].
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrate scores, [..., classes] in [0, 1]."""
        present = scores**self.slope
        absent = (1 - scores) ** self.slope * np.exp(-self.offset)
        return np.asarray(present / (present + absent), np.float64)

    @classmethod
    def read(cls, value: Mapping[str, Any], columns: Sequence[int]) -> Calibration | None:
        """Read the metadata field ``sedkit.calibration`` (:mod:`sedkit.contract`); None if its kind is ``none``.

        Parameters
        ----------
        value : the parsed field.
        columns : indices of the classes.
        """
        if value["kind"] == "none":
            return None
        return cls(np.array(value["slope"], np.float64)[columns], np.array(value["offset"], np.float64)[columns])
