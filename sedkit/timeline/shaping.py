"""Shaping of detected events: near ones are merged, short ones left out, long ones divided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

from sedkit.timeline.events import DetectedEvent, DetectedOnset, Found
from sedkit.timeline.grid import EPSILON
from sedkit.timeline.settings import ColumnSettings


class EventShaper:
    """Shapes the events of one recording while they are found. Events of one class that touch are always merged.

    Parameters
    ----------
    settings : of each class.
    onsets : whether to return the onset of an event as soon as it is certain, once, and only if the event is not.
    """

    def __init__(self, settings: ColumnSettings, onsets: bool = False) -> None:
        self.onsets = onsets
        self.gaps: list[float] = settings.merge_gap.tolist()
        self.shortest: list[float] = settings.min_duration.tolist()
        self.longest: list[float] = settings.max_duration.tolist()
        self.open: dict[int, DetectedEvent] = {}  # the latest event of each class, which a later one may continue
        self.told: dict[int, float] = {}  # the latest onset of each class that was returned

    def add(self, events: Iterable[Found], earliest: Callable[[int], float]) -> list[Found]:
        """Add events and onsets, those of each class in order; return those that are final.

        Parameters
        ----------
        earliest : earliest onset of a later event of a class, in seconds.
        """
        done: list[Found] = []
        for event in events:
            before = self.open.get(event.column)
            if before is not None and event.onset - before.offset > self.gaps[event.column] + EPSILON:
                done.append(self.open.pop(event.column))
                before = None
            if isinstance(event, DetectedOnset):
                done += self._begun(event if before is None else replace(event, onset=before.onset))
                continue
            if before is not None:
                event = _merged(before, event)
            self.open[event.column] = event
            if self.onsets and self.gaps[event.column]:  # it may be long until it is final
                done += self._begun(DetectedOnset(event.onset, event.offset, event.column, event.score))
        for column, event in list(self.open.items()):
            if earliest(column) - event.offset > self.gaps[column] + EPSILON:
                done.append(self.open.pop(column))
        return self._shaped(done)

    def finish(self, events: Iterable[Found]) -> list[Found]:
        """Add the last events; return all that remain."""
        return self.add(events, lambda column: math.inf)

    def _begun(self, onset: DetectedOnset) -> list[DetectedOnset]:
        """The onset, if it is new and its event is long enough."""
        column = onset.column
        if onset.until - onset.onset < self.shortest[column] - EPSILON or self.told.get(column) == onset.onset:
            return []
        self.told[column] = onset.onset
        return [onset]

    def _shaped(self, found: Iterable[Found]) -> list[Found]:
        shaped: list[Found] = []
        for each in found:
            if isinstance(each, DetectedOnset):
                shaped.append(each)
            elif each.offset - each.onset >= self.shortest[each.column] - EPSILON:
                shaped += _divided(each, self.longest[each.column])
        return shaped


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
