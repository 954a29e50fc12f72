"""The timeline of a recording, from its segment scores: at its end, or piece by piece while it plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.results import Event, Onset, Second, Timeline
from sedkit.selection import explained
from sedkit.timeline.detection import Detected, EventDetector
from sedkit.timeline.edges import level_changes
from sedkit.timeline.grid import Cells, Grid, Resolution
from sedkit.timeline.seconds import Seconds
from sedkit.timeline.settings import ColumnSettings


class TimelineView:
    """The timeline of a recording: its grid and its events.

    Parameters
    ----------
    labels : the classes to report.
    columns : their columns in the scores.
    settings : of the post-processing, of each class.
    resolution : seconds per cell, or ``"native"``.
    scores : whether the result keeps the scores of all cells and classes.

    Raises
    ------
    ArgumentError
        If `resolution` is invalid.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        columns: Sequence[int],
        settings: ColumnSettings,
        resolution: Resolution,
        scores: bool = False,
    ) -> None:
        self.live = LiveTimeline(labels, columns, settings, resolution)
        self.seconds: list[Seconds] = []
        self.events: list[Event] = []
        self.scores: list[NDArray[np.float32]] | None = [] if scores else None

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        self._append(self.live.add(samples, kept, scores))

    def finish(self, file: str, duration: float) -> Timeline:
        self._append(self.live.finish(duration))
        events = tuple(sorted(self.events, key=lambda event: (event.onset, event.label)))
        scores = None if self.scores is None else np.concatenate(self.scores)
        seconds = Seconds.joined(self.seconds)
        return Timeline(file, duration, self.live.grid.resolution, seconds, events, scores, self.live.labels)

    def _append(self, update: TimelineUpdate) -> None:
        self.seconds.append(update.seconds)
        self.events += update.events
        if self.scores is not None:
            self.scores.append(update.scores)


class LiveTimeline:
    """A timeline that is returned piece by piece while the recording plays.

    Parameters
    ----------
    labels, columns, settings, resolution : as for :class:`TimelineView`.
    onsets : whether to return the onsets of events before their ends.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        columns: Sequence[int],
        settings: ColumnSettings,
        resolution: Resolution,
        onsets: bool = False,
    ) -> None:
        self.labels, self.columns, self.settings = tuple(labels), columns, settings
        self.classes = tuple((label.name, label.mid) for label in labels)
        self.geometry = settings.geometry
        self.grid = Grid(resolution, len(columns), self.geometry)
        self.detector = EventDetector(settings, onsets)
        self.last_fall = 0  # frames from the end of the recording to the level fall, once the last piece was added

    def add(
        self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32], known_duration: float = 0.0
    ) -> TimelineUpdate:
        """Add the next piece of the recording; return the cells and events that are now final.

        Parameters
        ----------
        samples, kept, scores : as for :meth:`View.add`.
        known_duration : seconds; see :meth:`sedkit.timeline.grid.Grid.add`.
        """
        changes = level_changes(samples, self.geometry)[kept]
        self.last_fall = int(changes[-1, 1]) if len(changes) else self.last_fall
        detected = self.detector.add(scores[:, self.columns], changes[: len(scores)])
        return self._update(self.grid.add(detected.scores, known_duration), detected)

    def finish(self, duration: float) -> TimelineUpdate:
        """Return the remaining cells and events of a recording of `duration` seconds."""
        detected = self.detector.finish(duration, self.last_fall)
        rest = self.grid.add(detected.scores)
        last = self.grid.finish(duration)
        edges, rows = np.concatenate([rest.edges[:-1], last.edges]), np.concatenate([rest.scores, last.scores])
        return self._update(Cells(edges, rows), detected)

    def _update(self, cells: Cells, detected: Detected) -> TimelineUpdate:
        thresholds = self.settings.threshold
        present = (cells.scores >= thresholds) & ~explained(cells.scores, thresholds, self.settings.below)
        seconds = Seconds.present(cells.edges, cells.scores, present, self.classes)
        events = [
            Event(event.onset, event.offset, self.labels[event.column].name, self.labels[event.column].mid, event.score)
            for event in detected.events
        ]
        onsets = [
            Onset(each.onset, self.labels[each.column].name, self.labels[each.column].mid, each.score)
            for each in detected.onsets
        ]
        return TimelineUpdate(seconds, events, cells.scores, onsets)


class TimelineUpdate(NamedTuple):
    """What is new in a live timeline.

    Attributes
    ----------
    seconds : cells, in order.
    events : in the order in which they became final.
    scores : of the cells, [n, classes].
    onsets : of events that were not final when their onsets were certain.
    """

    seconds: Seconds
    events: list[Event]
    scores: NDArray[np.float32]
    onsets: list[Onset]

    def by_end(self) -> list[Second | Event | Onset]:
        """All items, sorted by end, onsets by their time; at equal times, cells come first and events last."""
        return sorted([*self.seconds, *self.onsets, *self.events], key=_end)


def _end(item: Second | Event | Onset) -> float:
    match item:
        case Second():
            return item.end
        case Event():
            return item.offset
    return item.onset
