"""From segment scores to events: filters, a detector, and shaping, as the settings ask for."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sedkit.timeline.boxes import BoxDetector
from sedkit.timeline.events import DetectedEvent, DetectedOnset, Found, HysteresisDetector
from sedkit.timeline.filters import ScoreFilter
from sedkit.timeline.parents import ParentFilter
from sedkit.timeline.settings import ColumnSettings
from sedkit.timeline.shaping import EventShaper


class Detected(NamedTuple):
    """Filtered segment scores, [k, classes], events that are now final, and onsets of events that are not."""

    scores: NDArray[np.float32]
    events: list[DetectedEvent]
    onsets: list[DetectedOnset]

    @classmethod
    def of(cls, scores: NDArray[np.float32], found: list[Found]) -> Self:
        events = [each for each in found if isinstance(each, DetectedEvent)]
        return cls(scores, events, [each for each in found if isinstance(each, DetectedOnset)])


class EventDetector:
    """Finds the events of one recording while its segment scores arrive.

    Parameters
    ----------
    settings : of each class.
    onsets : whether to find the onsets of events before their ends; not possible with change points.
    """

    def __init__(self, settings: ColumnSettings, onsets: bool = False) -> None:
        self.filter, self.parents = ScoreFilter(settings), ParentFilter(settings)
        self.shaper = EventShaper(settings, onsets)
        hysteresis = settings.shared.method == "hysteresis"
        self.detector = HysteresisDetector(settings, onsets) if hysteresis else BoxDetector(settings)

    def add(self, scores: NDArray[np.float32], changes: NDArray[np.int64]) -> Detected:
        """Add the scores of the next segments; return the scores and events that are now final.

        Parameters
        ----------
        scores : [k, classes].
        changes : [k, 2], frames from the start of each segment's tile to the level rise and to the level fall near it
            (:func:`sedkit.timeline.edges.level_changes`).
        """
        segments = self.filter.add(scores, changes)
        self.parents.add(segments.scores)
        events = self.parents.keep(self.detector.add(*segments), self.detector.earliest)
        return Detected.of(segments.scores, self.shaper.add(events, self.detector.earliest))

    def finish(self, duration: float, fall: int) -> Detected:
        """Return the remaining scores and events of a recording of `duration` seconds.

        Parameters
        ----------
        fall : frames from the end of the recording to the level fall; the last row of the level changes.
        """
        segments = self.filter.finish()
        self.parents.add(segments.scores)
        events = [*self.detector.add(*segments), *self.detector.finish(duration, fall)]
        return Detected.of(segments.scores, self.shaper.finish(self.parents.keep(events, self.detector.earliest)))


def detect(
    scores: NDArray[np.float32], changes: NDArray[np.int64], duration: float, settings: ColumnSettings
) -> list[DetectedEvent]:
    """Find the events of a whole recording, sorted by onset, then by column.

    Parameters
    ----------
    scores : [segments, columns].
    changes : [segments + 1, 2], from :func:`sedkit.timeline.edges.level_changes`.
    duration : seconds.
    settings : of each column. Many settings can be tried at once: repeat the columns of a class.
    """
    detector = EventDetector(settings)
    events = detector.add(scores, changes[:-1]).events + detector.finish(duration, int(changes[-1, 1])).events
    return sorted(events, key=lambda event: (event.onset, event.column))
