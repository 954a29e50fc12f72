"""Filters of segment scores, before cells and events are made: a median over time, and the highest classes per segment.

A filter receives scores and level changes in chunks, and returns those that are final. Results do not depend on the
chunks. A median of ``2 m + 1`` segments delays them by ``m`` segments.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.selection import explained
from sedkit.timeline.settings import ColumnSettings


class Segments(NamedTuple):
    """Neighbouring segments: ``scores``, [k, classes], and level ``changes`` near the starts of their tiles, [k, 2]."""

    scores: NDArray[np.float32]
    changes: NDArray[np.int64]


class ScoreFilter:
    """The filters that the settings ask for.

    Parameters
    ----------
    settings : of each class.
    """

    def __init__(self, settings: ColumnSettings) -> None:
        self.lengths = settings.median_segments
        self.settings, self.most = settings, settings.shared.max_classes
        self.margin = int(self.lengths.max(initial=1)) // 2
        classes = len(self.lengths)
        self.past = Segments(np.zeros((0, classes), np.float32), np.zeros((0, 2), np.int64))
        self.final = 0  # segments of `past` that were returned already

    def add(self, scores: NDArray[np.float32], changes: NDArray[np.int64]) -> Segments:
        """Add the next segments; return those that are now final, filtered."""
        if not self.margin:
            return Segments(self._highest(scores), changes)
        past = self.past
        joined = Segments(np.concatenate([past.scores, scores]), np.concatenate([past.changes, changes]))
        return self._return(joined, max(self.final, len(joined.scores) - self.margin))

    def finish(self) -> Segments:
        """Return the remaining segments of the recording."""
        return self._return(self.past, len(self.past.scores))

    def _return(self, segments: Segments, stop: int) -> Segments:
        start = self.final
        scores = segments.scores[start:stop].copy()
        for length in np.unique(self.lengths[self.lengths > 1]).tolist():
            columns = np.flatnonzero(self.lengths == length)
            scores[:, columns] = _median(segments.scores[:, columns], length // 2, start, stop)
        kept = max(0, stop - self.margin)
        self.past, self.final = Segments(segments.scores[kept:], segments.changes[kept:]), stop - kept
        return Segments(self._highest(scores), segments.changes[start:stop])

    def _highest(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scores of the highest classes in each segment, 0 for the others; of equal ones, the first counts.

        Explained classes do not count.
        """
        if self.most is None or self.most >= scores.shape[1]:
            return scores
        hidden = explained(scores, self.settings.threshold, self.settings.below)
        highest = np.where(hidden, np.float32(0), scores)
        rest = np.argsort(-highest, axis=1, kind="stable")[:, self.most :]
        np.put_along_axis(highest, rest, 0, axis=1)
        return highest


def _median(scores: NDArray[np.float32], half: int, start: int, stop: int) -> NDArray[np.float32]:
    """Median of the `half` segments before and after each of [start, stop); at the ends, of those that there are."""
    padded = np.pad(scores, ((half, half), (0, 0)), constant_values=np.nan)[start : stop + 2 * half]
    if stop <= start:
        return scores[:0]
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0)
    return np.nanmedian(windows, axis=2).astype(np.float32)
