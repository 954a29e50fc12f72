"""The events of a timeline, found in segment scores by hysteresis. docs/timeline.md explains the rules.

1. A *run* is a maximal sequence of tiles (:mod:`sedkit.timeline.grid`) in which a class scores at least its end
   threshold, ``HYSTERESIS * threshold``.
2. A run is an event if the mean of its three highest scores reaches the threshold.
3. The event is the run without its outermost tiles, whose segments contain only a part of the sound. The tile with the
   highest score is always kept, and so are the tiles at the start and the end of the recording.
4. Onset and offset move to the largest change of level nearby (:mod:`sedkit.timeline.edges`).

Events are final when they are returned, and do not depend on the chunks in which the scores arrive.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sedkit.geometry import HOP, SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN
from sedkit.timeline.grid import EPSILON, tile_start

HYSTERESIS = 0.05  # an event ends when the score drops below this fraction of the threshold
OVERLAP = SEGMENT_SPAN // SEGMENT_HOP  # number of segments that contain any moment, except at the ends of a recording
SHORTEST_EVENT = 0.1  # seconds; if moving onset and offset leaves less than this, they stay at the edges of tiles
FRAME = HOP / SAMPLE_RATE  # seconds


@dataclass(frozen=True, slots=True)
class DetectedEvent:
    """An event of one class.

    Attributes
    ----------
    onset, offset : seconds.
    column : index of the class.
    score : mean of the OVERLAP highest segment scores of the event. If it has fewer segments, the missing ones count as
        0. The first and the last segment of a recording count OVERLAP times.
    """

    onset: float
    offset: float
    column: int
    score: float


class EventDetector:
    """Finds the events of one recording while its segment scores arrive.

    Parameters
    ----------
    thresholds : one per class, [classes].
    """

    def __init__(self, thresholds: ArrayLike) -> None:
        self.thresholds = np.asarray(thresholds)
        self.end_thresholds = HYSTERESIS * self.thresholds
        classes = len(self.thresholds)
        self.segments = 0  # number of segments so far
        # The state of each class's current run:
        self.in_run = np.zeros(classes, bool)
        self.first = np.zeros(classes, np.int64)  # its first segment
        self.peak = np.zeros(classes, np.int64)  # its segment with the highest score, the first one of equal scores
        self.top = np.zeros((OVERLAP, classes))  # its highest scores, in descending order
        self.latest: NDArray[np.floating] = np.zeros(classes)  # score of the latest segment; 0 outside of runs
        self.rises = np.zeros((2, classes), np.int64)  # frames from tile start to level rise: first and second segment
        self.falls = [0, 0]  # frames from tile start to level fall: latest segment and the one after it
        self.previous_offset = np.zeros(classes)  # seconds; end of the class's previous event

    def add(self, scores: NDArray[np.float32], changes: NDArray[np.int64]) -> list[DetectedEvent]:
        """Add the scores of the next segments; return the events that end within them.

        Parameters
        ----------
        scores : [k, classes].
        changes : [k, 2], frames from the start of each segment's tile to the level rise and to the level fall near it
            (:func:`sedkit.timeline.edges.level_changes`).

        Returns
        -------
        Events in the order in which their runs end, then by offset, then by class.
        """
        steps = zip(scores, changes, strict=True)
        return [event for row, (rise, fall) in steps for event in self._step(row, rise, fall)]

    def finish(self, duration: float, fall: int) -> list[DetectedEvent]:
        """Return the events that last until the last segment of a recording of `duration` seconds.

        Parameters
        ----------
        fall : frames from the end of the recording to the level fall; the last row of the level changes.
        """
        self.falls = [self.falls[1], fall]
        self.top = insert_score(self.top, self.latest, OVERLAP - 1)
        return self._end(self.in_run, duration)

    def _step(self, row: NDArray[np.float32], rise: int, fall: int) -> list[DetectedEvent]:
        self.falls = [self.falls[1], fall]
        in_run = row >= self.end_thresholds
        ended = self._end(self.in_run & ~in_run)
        started = in_run & ~self.in_run
        self.first[started] = self.segments
        self.rises[0, started] = rise
        self.rises[1, self.first == self.segments - 1] = rise
        self.peak[started | (in_run & (row > self.top[0]))] = self.segments
        self.top, self.latest = self.top * in_run, row * in_run
        self.top = insert_score(self.top, self.latest, 1 if self.segments else OVERLAP)
        self.in_run = in_run
        self.segments += 1
        return ended

    def _end(self, classes: NDArray[np.bool_], duration: float | None = None) -> list[DetectedEvent]:
        """End the runs of these classes and return those that are events.

        `duration` is None if the runs end before the next segment, else they end with the recording.
        """
        if not classes.any():
            return []
        scores, events = self.top.mean(axis=0), []
        for column in np.flatnonzero(classes & (scores >= self.thresholds)).tolist():
            first, peak = int(self.first[column]), int(self.peak[column])
            # Leave out the outermost tiles, except the peak and those at the ends of the recording.
            begin = min(first + 1 if first else 0, peak)
            end = max(self.segments - 1, peak + 1) if duration is None else self.segments
            tiles = tile_start(begin), tile_start(end) if duration is None else duration
            onset = max(_moved(tiles[0], self.rises[begin - first, column]), float(self.previous_offset[column]))
            offset = _moved(tiles[1], self.falls[end - self.segments + 1])
            if offset - onset < SHORTEST_EVENT - EPSILON:
                onset, offset = tiles
            self.previous_offset[column] = offset
            events.append(DetectedEvent(onset, offset, column, float(scores[column])))
        return sorted(events, key=lambda event: event.offset)


def insert_score(top: NDArray[np.float64], scores: NDArray[np.floating], times: int = 1) -> NDArray[np.float64]:
    """Insert the scores of one more segment into the highest scores so far.

    Parameters
    ----------
    top : [OVERLAP, ...], in descending order.
    scores : [...].
    times : how often the segment counts.
    """
    for _ in range(times):
        rest, updated = scores, []
        for highest in top:
            updated.append(np.maximum(highest, rest))
            rest = np.minimum(highest, rest)
        top = np.stack(updated)
    return top


def _moved(time: float, frames: int) -> float:
    return round(time + int(frames) * FRAME, 6) if frames else time
