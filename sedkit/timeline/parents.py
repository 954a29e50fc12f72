"""Events of classes that are explained by others below them (:mod:`sedkit.selection`): left out, as long as all else.

An event is explained if its class is explained in at least half of the event's segments that reach the threshold. So a
dog that barks is an event of Bark alone, and a dog that growls for ten seconds and barks once is one of Dog and one of
Bark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from sedkit.selection import explained
from sedkit.timeline.events import DetectedEvent, Found
from sedkit.timeline.grid import EPSILON
from sedkit.timeline.settings import ColumnSettings

EXPLAINED_SHARE = 0.5  # least share of explained segments


class ParentFilter:
    """Leaves out explained events while segment scores arrive.

    Onsets of classes above others are left out, too: only at its end is it certain whether an event is explained.

    Parameters
    ----------
    settings : of each class.
    """

    def __init__(self, settings: ColumnSettings) -> None:
        self.settings = settings
        self.parents = np.flatnonzero([len(below) > 0 for below in settings.below])
        self.first = 0  # segment of the first row of `lit` and `hidden`
        self.lit = np.zeros((0, len(self.parents)), bool)  # whether a segment reaches the threshold
        self.hidden = self.lit  # whether the class is also explained there

    def add(self, scores: NDArray[np.float32]) -> None:
        """Add the scores of the next segments, [k, classes]."""
        if len(self.parents):
            lit = scores >= self.settings.threshold
            hidden = lit & explained(scores, self.settings.threshold, self.settings.below)
            self.lit = np.concatenate([self.lit, lit[:, self.parents]])
            self.hidden = np.concatenate([self.hidden, hidden[:, self.parents]])

    def keep(self, found: Iterable[Found], earliest: Callable[[int], float]) -> list[Found]:
        """The events and onsets that are not left out.

        Parameters
        ----------
        earliest : earliest onset of a later event of a class, in seconds. Segments before all of them are forgotten.
        """
        if not len(self.parents):
            return list(found)
        kept = [each for each in found if not self._left_out(each)]
        needed = min(self._tile(earliest(column)) for column in self.parents.tolist())
        if (rows := max(0, needed - self.first)) > 0:
            self.first, self.lit, self.hidden = self.first + rows, self.lit[rows:], self.hidden[rows:]
        return kept

    def _left_out(self, each: Found) -> bool:
        position = np.searchsorted(self.parents, each.column)
        if position == len(self.parents) or self.parents[position] != each.column:
            return False
        if not isinstance(each, DetectedEvent):
            return True
        start, stop = self._tile(each.onset) - self.first, self._tile(each.offset - EPSILON) + 1 - self.first
        lit, hidden = (int(rows[max(0, start) : stop, position].sum()) for rows in (self.lit, self.hidden))
        return hidden > 0 and hidden >= EXPLAINED_SHARE * lit

    def _tile(self, time: float) -> int:
        """The segment whose tile contains a time."""
        geometry = self.settings.geometry
        tiles = (max(time, 0.0) - geometry.first_tile / geometry.sample_rate) / geometry.step
        return max(0, math.floor(tiles + EPSILON))
