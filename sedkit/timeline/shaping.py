"""Shaping of detected events: near ones are merged, short ones left out, long ones divided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

from sedkit.timeline.events import DetectedEvent
from sedkit.timeline.grid import EPSILON
from sedkit.timeline.settings import ColumnSettings


class EventShaper:
    """Shapes the events of one recording while they are found. Events of one class that touch are always merged.

    Parameters
    ----------
    settings : of each class.
    """

    def __init__(self, settings: ColumnSettings) -> None:
        self.gaps: list[float] = settings.merge_gap.tolist()
        self.shortest: list[float] = settings.min_duration.tolist()
        self.longest: list[float] = settings.max_duration.tolist()
        self.open: dict[int, DetectedEvent] = {}  # the latest event of each class, which a later one may continue

    def add(self, events: Iterable[DetectedEvent], earliest: Callable[[int], float]) -> list[DetectedEvent]:
        """Add events, those of each class in order of onset; return those that are final.

        Parameters
        ----------
        earliest : earliest onset of a later event of a class, in seconds.
        """
        done = []
        for event in events:
            before = self.open.pop(event.column, None)
            if before is not None and event.onset - before.offset <= self.gaps[event.column] + EPSILON:
                event = _merged(before, event)
            elif before is not None:
                done.append(before)
            self.open[event.column] = event
        for column, event in list(self.open.items()):
            if earliest(column) - event.offset > self.gaps[column] + EPSILON:
                done.append(self.open.pop(column))
        return self._shaped(done)

    def finish(self, events: Iterable[DetectedEvent]) -> list[DetectedEvent]:
        """Add the last events; return all that remain."""
        return self.add(events, lambda column: math.inf)

    def _shaped(self, events: Iterable[DetectedEvent]) -> list[DetectedEvent]:
        return [
            part
            for event in events
            if event.offset - event.onset >= self.shortest[event.column] - EPSILON
            for part in _divided(event, self.longest[event.column])
        ]


def _merged(first: DetectedEvent, second: DetectedEvent) -> DetectedEvent:
    offset, score = max(first.offset, second.offset), max(first.score, second.score)
    return DetectedEvent(first.onset, offset, first.column, score)


def _divided(event: DetectedEvent, longest: float) -> list[DetectedEvent]:
    """The event in the fewest equal parts that are no longer than `longest`."""
    length = event.offset - event.onset
    parts = max(1, math.ceil((length - EPSILON) / longest))
    times = [round(event.onset + length * part / parts, 6) for part in range(1, parts)]
    bounds = [event.onset, *times, event.offset]
    return [DetectedEvent(onset, offset, event.column, event.score) for onset, offset in pairwise(bounds)]
