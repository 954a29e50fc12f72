"""Event boxes between changes of the score: an alternative to hysteresis, for whole recordings.

After the change-detection-based sound event bounding boxes (cSEBBs) of Ebbers, Germain, Wichern and Le Roux, "Sound
Event Bounding Boxes", Interspeech 2024, arXiv 2406.04212, from its description; details that it leaves open are ours.
A threshold that decides where events begin and end makes faint events short and loud ones long. Here the score's
changes decide, and the threshold only accepts or rejects whole boxes:

1. The change at the start of a segment is the mean score of the ``step`` seconds after it minus that of the ``step``
   seconds before it. Beyond the ends of the recording, scores are 0.
2. A box begins at the largest rise and ends at the largest fall before the next rise. Between two boxes is a gap.
3. While the mean score of a gap is at most ``merge_drop`` below the higher of its neighbours' mean scores, or at least
   ``merge_share`` of it, the two boxes become one; the gap with the smallest drop first.
4. A box whose mean score reaches the threshold is an event. Its ends move to level changes, as with hysteresis.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sedkit.timeline.events import SHORTEST_EVENT, DetectedEvent, moved
from sedkit.timeline.grid import EPSILON
from sedkit.timeline.settings import ColumnSettings


class BoxDetector:
    """Finds the event boxes of one recording when it has ended; until then, it keeps all scores.

    Parameters
    ----------
    settings : of each class.
    """

    def __init__(self, settings: ColumnSettings) -> None:
        self.settings = settings
        self.scores: list[NDArray[np.floating]] = []
        self.changes: list[NDArray[np.int64]] = []

    def add(self, scores: NDArray[np.floating], changes: NDArray[np.int64]) -> list[DetectedEvent]:
        """Add the scores and level changes of the next segments. No event is final before :meth:`finish`."""
        self.scores.append(scores)
        self.changes.append(changes)
        return []

    def earliest(self, column: int) -> float:
        """Earliest onset that a later event of a class may have: any."""
        return -np.inf

    def finish(self, duration: float, fall: int) -> list[DetectedEvent]:
        """Return the events of a recording of `duration` seconds, which ends with this level fall."""
        scores = np.concatenate(self.scores)
        rises, falls = np.concatenate([*self.changes, [[0, fall]]]).T.tolist()
        shared, limits = self.settings.shared, self.settings.threshold.tolist()
        geometry = self.settings.geometry
        width, tile_start = max(1, round(shared.step / geometry.step)), geometry.tile_start
        events = []
        for column in np.flatnonzero(scores.max(axis=0) >= self.settings.threshold).tolist():
            values = scores[:, column].astype(np.float64)
            for begin, end, score in boxes(values, width, shared.merge_drop, shared.merge_share):
                if score >= limits[column]:
                    edges = tile_start(begin), duration if end == len(values) else tile_start(end)
                    onset, offset = moved(edges[0], rises[begin]), moved(edges[1], falls[end])
                    if offset - onset < SHORTEST_EVENT - EPSILON:
                        onset, offset = edges
                    events.append(DetectedEvent(onset, offset, column, score))
        return sorted(events, key=lambda event: event.onset)


def boxes(scores: NDArray[np.float64], width: int, drop: float, share: float) -> list[tuple[int, int, float]]:
    """Boxes of one class: first segment, segment after the last, mean score.

    Parameters
    ----------
    scores : [segments].
    width : segments on either side of a change.
    drop, share : ``merge_drop`` and ``merge_share`` of the settings.
    """
    sums = np.concatenate([[0.0], np.cumsum(scores)]).tolist()

    def mean(begin: int, end: int) -> float:
        return float(sums[end] - sums[begin]) / (end - begin)

    def mergeable(left: _Box) -> tuple[float, int, int, int] | None:
        """The drop between a box and the next one, their begin and end, if they may become one."""
        if (right := left.after) is None:
            return None
        higher = max(mean(left.begin, left.end), mean(right.begin, right.end))
        gap = mean(left.end, right.begin) if right.begin > left.end else higher
        return (
            (higher - gap, left.begin, left.end, right.end) if higher - gap <= drop or gap >= share * higher else None
        )

    found = {begin: _Box(begin, end) for begin, end in _between_changes(_changes(scores, width))}
    for left, right in pairwise(found.values()):
        left.after, right.before = right, left
    waiting = [gap for box in found.values() if (gap := mergeable(box))]
    heapify(waiting)
    while waiting:
        _, begin, end, stop = heappop(waiting)
        grown = found.get(begin)
        if grown is None or grown.end != end or grown.after is None or grown.after.end != stop:
            continue  # one of the two has grown in the meantime
        right = found.pop(grown.after.begin)
        grown.end, grown.after = right.end, right.after
        if right.after is not None:
            right.after.before = grown
        for box in (grown.before, grown):
            if box is not None and (gap := mergeable(box)):
                heappush(waiting, gap)
    return [(box.begin, box.end, mean(box.begin, box.end)) for box in found.values()]


@dataclass(slots=True, eq=False)
class _Box:
    """Segments [begin, end), and the boxes beside it."""

    begin: int
    end: int
    before: _Box | None = None
    after: _Box | None = None


def _changes(scores: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Change of the mean score at the start of each segment, and at the end of the recording, [segments + 1]."""
    sums = np.concatenate([[0.0], np.cumsum(np.pad(scores, width))])
    middles = np.arange(width, width + len(scores) + 1)
    changes = (sums[middles + width] - 2 * sums[middles] + sums[middles - width]) / width
    return np.where(abs(changes) < EPSILON, 0.0, changes)


def _between_changes(changes: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Boxes from the largest of neighbouring rises to the largest of the falls that follow them."""
    padded = np.pad(changes, 1)
    rises = (changes > 0) & (changes >= padded[:-2]) & (changes > padded[2:])
    falls = (changes < 0) & (changes <= padded[:-2]) & (changes < padded[2:])
    extremes: list[int] = []
    for position in np.flatnonzero(rises | falls).tolist():
        if extremes and (changes[extremes[-1]] > 0) == (changes[position] > 0):
            if abs(changes[position]) > abs(changes[extremes[-1]]):
                extremes[-1] = position
        else:
            extremes.append(position)
    if extremes and changes[extremes[0]] < 0:
        extremes.pop(0)
    return list(zip(extremes[::2], extremes[1::2], strict=False))
