"""The events of a timeline, found in segment scores by hysteresis. docs/timeline.md explains the rules.

1. A *run* is a maximal sequence of tiles (:mod:`sedkit.timeline.grid`) in which a class scores at least its end
   threshold, ``leave * threshold``.
2. Of a run, those tiles count that are at most ``hold`` away from a tile of the run that reaches the threshold.
   Neighbouring ones form a *group*.
3. A group is an event if the mean of its three highest scores reaches the threshold. (Three of WELS-Net's segments
   contain any moment; of a model with another geometry, as many as do.)
4. The outermost tiles, whose segments contain only a part of the sound, may be removed. The first one stays if it
   scores no less than the next one, the last one if it scores more than the one before. Both stay at the start and the
   end of the recording.
5. Onset and offset move to the largest change of level nearby (:mod:`sedkit.timeline.edges`).

The onset of a group is certain as soon as its score reaches the threshold and it is so long that step 5 cannot leave
less than SHORTEST_EVENT: mean of the highest scores and end of a group never decrease.

A higher threshold makes runs, groups and the tiles of events fewer, never more. Events do not depend on the chunks in
which the scores arrive.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import FRAMES_PER_SECOND, Geometry
from sedkit.timeline.edges import AROUND
from sedkit.timeline.grid import EPSILON
from sedkit.timeline.settings import ColumnSettings

SHORTEST_EVENT = 0.1  # seconds; if moving onset and offset leaves less than this, they stay at the edges of tiles
FRAME = 1 / FRAMES_PER_SECOND  # seconds


@dataclass(frozen=True, slots=True)
class DetectedEvent:
    """An event of one class.

    Attributes
    ----------
    onset, offset : seconds.
    column : index of the class.
    score : mean of the highest segment scores of the event, as many as contain any moment
        (``geometry.overlap``, 3 for WELS-Net). If it has fewer segments, the missing ones count as 0. The first and the
        last segment of a recording count that often.
    """

    onset: float
    offset: float
    column: int
    score: float


@dataclass(frozen=True, slots=True)
class DetectedOnset:
    """The onset of an event that has not ended yet.

    Attributes
    ----------
    onset : seconds.
    until : seconds; the event ends no earlier.
    column : index of the class.
    score : of the event so far.
    """

    onset: float
    until: float
    column: int
    score: float


Found: TypeAlias = DetectedEvent | DetectedOnset


@dataclass(slots=True)
class Tile:
    """A tile with the score of one class. Rise and fall: frames from its start to the level changes near it."""

    index: int
    score: float
    rise: int
    fall: int


@dataclass(slots=True)
class _Group:
    """A group of tiles so far."""

    first: Tile  # that is kept
    newest: Tile
    geometry: Geometry
    overlap: int  # of the geometry
    tiles: int = 1
    rises: bool = True  # the newest tile scores more than the one before it
    top: list[float] = field(default_factory=list)  # the highest scores, in descending order
    told: bool = False  # its onset was returned, with a time beyond min_duration

    @classmethod
    def start(cls, tile: Tile, geometry: Geometry) -> _Group:
        group = cls(tile, tile, geometry, geometry.overlap)
        group._count(tile)
        return group

    def push(self, tile: Tile) -> None:
        """Add the next tile."""
        if self.tiles == 1 and self.first.index > 0 and tile.score > self.first.score:
            self.first = tile
        self.rises = tile.score > self.newest.score
        self.newest = tile
        self.tiles += 1
        self._count(tile)

    def _count(self, tile: Tile) -> None:
        times = 1 if tile.index else self.overlap
        self.top = sorted([*self.top, *[tile.score] * times], reverse=True)[: self.overlap]

    def score(self, last_of_recording: bool) -> float:
        """Mean of the highest scores."""
        overlap = self.overlap
        times = overlap - 1 if last_of_recording else 0
        top = sorted([*self.top, *[self.newest.score] * times, *[0.0] * overlap], reverse=True)[:overlap]
        return float(np.mean(top))

    def span(self, fall: int, duration: float | None) -> tuple[float, float]:
        """Onset and offset of the group, whose end has this level fall and, if it ends the recording, is `duration`."""
        tile_start = self.geometry.tile_start
        begin, end = tile_start(self.first.index), tile_start(self.newest.index + 1)
        if duration is not None:
            end = duration
        elif not self.rises:
            end, fall = tile_start(self.newest.index), self.newest.fall
        onset, offset = moved(begin, self.first.rise), moved(end, fall)
        return (onset, offset) if offset - onset >= SHORTEST_EVENT - EPSILON else (begin, end)


@dataclass(slots=True)
class _Column:
    """The state of one class: its open group, and the tiles of the run that may still join it or the next one."""

    group: _Group | None = None
    lit: int = 0  # the group's last tile that reaches the threshold
    waiting: deque[Tile] = field(default_factory=deque)

    @property
    def first(self) -> int | None:
        """The earliest tile that a later event may include; None if that is the next tile."""
        return self.waiting[0].index if self.waiting else None


class HysteresisDetector:
    """Finds the events of one recording while its segment scores arrive.

    Parameters
    ----------
    settings : of each class.
    onsets : whether to return the onsets of events that still go on, too. An event has several :class:`DetectedOnset`,
        one per segment until the last is ``min_duration`` long.
    """

    def __init__(self, settings: ColumnSettings, onsets: bool = False) -> None:
        self.onsets, self.shortest = onsets, settings.min_duration.tolist()
        self.geometry, self.ends = settings.geometry, settings.end_threshold
        self.limits: list[float] = settings.threshold.tolist()
        self.holds: list[float] = settings.hold_segments.tolist()
        self.segments = 0  # number of segments so far
        self.columns = [_Column() for _ in self.limits]
        self.in_run = np.zeros(len(self.limits), bool)

    def add(self, scores: NDArray[np.floating], changes: NDArray[np.int64]) -> list[Found]:
        """Add the scores of the next segments; return the events that end within them.

        Parameters
        ----------
        scores : [k, classes].
        changes : [k, 2], frames from the start of each segment's tile to the level rise and to the level fall near it
            (:func:`sedkit.timeline.edges.level_changes`).
        """
        in_run = np.concatenate([self.in_run[None], scores >= self.ends])
        self.in_run = in_run[-1]
        rows, columns = np.nonzero(in_run[1:] | in_run[:-1])
        cells = zip(
            rows.tolist(), columns.tolist(), in_run[1:][rows, columns].tolist(), scores[rows, columns].tolist(),
            strict=True,
        )  # fmt: skip
        moves = changes.tolist()
        events: list[Found] = []
        for row, column, inside, score in cells:
            rise, fall = moves[row]
            if inside:
                self._extend(column, Tile(self.segments + row, score, rise, fall), events)
            else:
                self._end(column, fall, events)
        self.segments += len(scores)
        return events

    def finish(self, duration: float, fall: int) -> list[Found]:
        """Return the events that last until the last segment of a recording of `duration` seconds.

        Parameters
        ----------
        fall : frames from the end of the recording to the level fall; the last row of the level changes.
        """
        events: list[Found] = []
        for column in np.flatnonzero(self.in_run).tolist():
            self._end(column, fall, events, duration)
        return events

    def earliest(self, column: int) -> float:
        """Earliest onset that a later event of a class may have, in seconds."""
        state = self.columns[column]
        first = state.first if state.group is None else state.group.first.index
        return self.geometry.tile_start(self.segments if first is None else first) - AROUND * FRAME

    def _extend(self, column: int, tile: Tile, events: list[Found]) -> None:
        state, hold = self.columns[column], self.holds[column]
        lit = tile.score >= self.limits[column]
        if lit:
            for joining in (*state.waiting, tile):
                if state.group is None:
                    state.group = _Group.start(joining, self.geometry)
                else:
                    state.group.push(joining)
            state.waiting.clear()
            state.lit = tile.index
            self._begin(column, events)
        elif state.group is not None and tile.index - state.lit <= hold:
            state.group.push(tile)
            self._begin(column, events)
        else:
            state.waiting.append(tile)
            if len(state.waiting) > hold:
                self._close(column, state.waiting[0].fall, events)
                state.waiting.popleft()

    def _begin(self, column: int, events: list[Found]) -> None:
        """Add the onset of the open group, if an event with this onset is certain to follow."""
        group = self.columns[column].group
        if not self.onsets or group is None or group.told:
            return
        onset = moved(self.geometry.tile_start(group.first.index), group.first.rise)
        until = moved(self.geometry.tile_start(group.newest.index), -AROUND)
        if until - onset >= SHORTEST_EVENT and (score := group.score(False)) >= self.limits[column]:
            group.told = until - onset >= self.shortest[column]
            events.append(DetectedOnset(onset, until, column, score))

    def _end(self, column: int, fall: int, events: list[Found], duration: float | None = None) -> None:
        """End a run."""
        waiting = self.columns[column].waiting
        if waiting:
            fall, duration = waiting[0].fall, None
        self._close(column, fall, events, duration)
        waiting.clear()

    def _close(self, column: int, fall: int, events: list[Found], duration: float | None = None) -> None:
        """End the open group of a class, if there is one."""
        state = self.columns[column]
        if (group := state.group) is None:
            return
        state.group = None
        if (score := group.score(duration is not None)) >= self.limits[column]:
            events.append(DetectedEvent(*group.span(fall, duration), column, score))


def moved(time: float, frames: int) -> float:
    """A time, moved by a number of frames."""
    return round(time + frames * FRAME, 6) if frames else time
