"""Segment scores → a grid of cells, and events, made while scores come. The why of each rule is in docs/timeline.md.

Segment ``k`` is centred at ``0.32 k + 0.48`` s and owns the *tile* ``[0.32 k + 0.32, 0.32 k + 0.64)``;
the first tile reaches back to 0, the last on to the end of the recording. Tiles cover the recording
without gaps or overlaps.

What is handed out does not depend on the chunks in which scores come, and is final: nothing is taken back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sedkit.errors import ArgumentError
from sedkit.geometry import HOP, SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN

Resolution: TypeAlias = float | Literal["native"]

FRAME = HOP / SAMPLE_RATE  # seconds
STEP = SEGMENT_HOP / SAMPLE_RATE  # seconds between segments
CENTRE = SEGMENT_SPAN / 2 / SAMPLE_RATE  # of segment 0, in seconds
FIRST_TILE = (
    SEGMENT_SPAN - SEGMENT_HOP
) // 2  # samples: where the tile of segment 0 would begin, did it not reach back
FINEST = 0.01  # seconds, of a cell
SHORTEST = 0.1  # seconds, of an event whose ends are not those of tiles
SUSTAIN = 0.05  # a sound is followed as long as its scores are at or above this share of the threshold
HOLDING = SEGMENT_SPAN // SEGMENT_HOP  # segments that hold a moment, but for the first and the last of a recording
EPSILON = 1e-6  # seconds; times closer than this are one
CLOCKS = 1e-3  # seconds by which the clocks of a recording and of its 16 kHz samples may differ


class Cells(NamedTuple):
    """Neighbouring cells of the grid: their edges, [n + 1] in seconds, and scores, [n, classes]."""

    edges: NDArray[np.float64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Run:
    """A maximal run of tiles in which one class stays at or above SUSTAIN of its threshold, and whose score reaches it.

    ``onset`` and ``offset`` in seconds, where the level changes most near the ends of the run without its outermost
    tiles, but always with its highest; ``column``, the class; ``score``, the mean of its HOLDING highest scores, with 0
    for those that a shorter run lacks. The first and the last segment of the recording count HOLDING times.
    """

    onset: float
    offset: float
    column: int
    score: float


class Grid:
    """The cells of a recording.

    A cell takes the maximum over the segments centred in it; a cell without a centre takes the segment whose tile
    holds the cell's middle. The last cell ends with the recording.

    Parameters
    ----------
    resolution : seconds a cell; ``"native"`` takes the tiles.
    classes : how many.

    Raises
    ------
    ArgumentError
        If `resolution` is neither ``"native"`` nor a number of seconds of at least 0.01.
    """

    def __init__(self, resolution: Resolution, classes: int) -> None:
        self.resolution = check_resolution(resolution)
        self.cells = 0  # handed out
        self.first = 0  # the segment that rows[0] belongs to
        self.rows = np.zeros((0, classes), np.float32)  # segments that cells to come depend on

    def add(self, scores: NDArray[np.float32], lasting: float = 0.0) -> Cells:
        """The cells that become complete with the next segments.

        Parameters
        ----------
        scores : [k, classes].
        lasting : seconds that the recording is known to last. Without it, a cell is not known to be complete until
            one or two segments later.
        """
        self.rows = np.concatenate([self.rows, scores])
        segments = self.first + len(self.rows)
        if segments > 1:  # a recording lasts for more than one step beyond K steps, see sedkit.geometry
            lasting = max(lasting, (segments + 1) * STEP - CLOCKS)
        edges = self._edges(max(self.cells, self._sure(lasting)))
        bounds, nearest = _centred_before(edges), _tile_at((edges[:-1] + edges[1:]) / 2)
        needed = np.where(bounds[:-1] < bounds[1:], bounds[1:] - 1, nearest)  # the last segment a cell waits for
        complete = np.searchsorted(np.maximum.accumulate(needed), segments)
        cells = self._close(edges[: complete + 1])
        self._merge()
        return cells

    def finish(self, duration: float) -> Cells:
        """The rest of the cells of a recording of `duration` seconds."""
        if self.resolution == "native":
            total = self.first + len(self.rows)
        else:
            total = max(1, math.ceil((duration - EPSILON) / self.resolution))
        edges = self._edges(total)
        edges[-1] = duration
        return self._close(edges, last=True)

    def _sure(self, lasting: float) -> int:
        """How many cells are certainly not the last one, and so have the edges that they seem to have."""
        if self.resolution == "native":
            return math.ceil((lasting - CLOCKS) / STEP) - 3
        return math.ceil((lasting - EPSILON) / self.resolution) - 1

    def _edges(self, stop: int) -> NDArray[np.float64]:
        """Edges of the next cells up to cell `stop`, which is left out."""
        if self.resolution == "native":
            return np.array([_tile_start(segment) for segment in range(self.cells, stop + 1)])
        return self.resolution * np.arange(self.cells, stop + 1.0)

    def _close(self, edges: NDArray[np.float64], last: bool = False) -> Cells:
        """Hand out the cells between `edges`, and let go of segments that no later cell depends on."""
        bounds = (_centred_before(edges) - self.first).clip(0, len(self.rows))
        if last:
            bounds[-1] = len(self.rows)
        nearest = (_tile_at((edges[:-1] + edges[1:]) / 2) - self.first).clip(0, len(self.rows) - 1)
        filled = bounds[:-1] < bounds[1:]
        scores = self.rows[nearest]
        if filled.any():
            scores[filled] = np.maximum.reduceat(self.rows[: bounds[-1]], bounds[:-1][filled])
        self.cells += len(scores)
        self._drop(max(0, int(bounds[-1]) - 1))  # the last one may be the nearest of the next cell
        return Cells(edges, scores)

    def _merge(self) -> None:
        """Of the segments that have come for the next cell, keep the maximum, and the last for the cell after it."""
        bounds = (_centred_before(self._edges(self.cells + 1)) - self.first).clip(0, len(self.rows))
        start, stop = bounds.tolist()
        if stop - start > 2:
            self.rows[stop - 2] = self.rows[start : stop - 1].max(axis=0)
            self._drop(stop - 2)

    def _drop(self, rows: int) -> None:
        self.rows = self.rows[rows:]
        self.first += rows


class Runs:
    """The events of a recording.

    Parameters
    ----------
    thresholds : one a class, [classes]; the score of an event reaches it.
    """

    def __init__(self, thresholds: ArrayLike) -> None:
        self.thresholds = np.asarray(thresholds)
        self.sustaining = SUSTAIN * self.thresholds
        self.segments = 0
        self.present = np.zeros(len(self.thresholds), bool)  # whether a class is in a run
        self.first = np.zeros(len(self.thresholds), np.int64)  # segment of that run
        self.highest = np.zeros(len(self.thresholds), np.int64)  # the first of its segments that has the highest score
        self.top = np.zeros((HOLDING, len(self.thresholds)))  # its highest scores, in descending order
        self.last: NDArray[np.floating] = np.zeros(len(self.thresholds))  # of the latest segment, in runs
        self.rise = np.zeros((2, len(self.thresholds)), np.int64)  # at the first segment, and at the one after it
        self.fall = [0, 0]  # at the last segment, and at the next
        self.offset = np.zeros(len(self.thresholds))  # of the event before, in seconds

    def add(self, scores: NDArray[np.float32], edges: NDArray[np.int64]) -> list[Run]:
        """The events that end within the next segments, [k, classes]: as their runs end, then by offset and by class.

        Parameters
        ----------
        edges : at which their tiles begin, [k, 2] (:func:`sedkit.timeline.edges.tile_edges`).
        """
        return [run for row, (rise, fall) in zip(scores, edges, strict=True) for run in self._step(row, rise, fall)]

    def finish(self, duration: float, fall: int) -> list[Run]:
        """The events that last to the last tile of a recording of `duration` seconds, or to its end.

        Parameters
        ----------
        fall : frames from there to where the level falls, the last of the edges.
        """
        self.fall = [self.fall[1], fall]
        self.top = with_next(self.top, self.last, HOLDING - 1)
        return self._end(self.present, duration)

    def _step(self, row: NDArray[np.float32], rise: int, fall: int) -> list[Run]:
        self.fall = [self.fall[1], fall]
        present = row >= self.sustaining
        ended = self._end(self.present & ~present)
        begun = present & ~self.present
        self.first[begun] = self.segments
        self.rise[0, begun] = rise
        self.rise[1, self.first == self.segments - 1] = rise
        self.highest[begun | (present & (row > self.top[0]))] = self.segments
        self.top, self.last = self.top * present, row * present
        self.top = with_next(self.top, self.last, 1 if self.segments else HOLDING)
        self.present = present
        self.segments += 1
        return ended

    def _end(self, columns: NDArray[np.bool_], duration: float | None = None) -> list[Run]:
        """The events of these classes, which end before the next segment, or with the recording."""
        if not columns.any():
            return []
        scores, found = self.top.mean(axis=0), []
        for column in np.flatnonzero(columns & (scores >= self.thresholds)).tolist():
            first, highest = int(self.first[column]), int(self.highest[column])
            begin = min(first + 1 if first else 0, highest)
            end = max(self.segments - 1, highest + 1) if duration is None else self.segments
            tiles = _tile_start(begin), _tile_start(end) if duration is None else duration
            onset = max(_moved(tiles[0], self.rise[begin - first, column]), float(self.offset[column]))
            offset = _moved(tiles[1], self.fall[end - self.segments + 1])
            if offset - onset < SHORTEST - EPSILON:
                onset, offset = tiles
            self.offset[column] = offset
            found.append(Run(onset, offset, column, float(scores[column])))
        return sorted(found, key=lambda run: run.offset)


def with_next(top: NDArray[np.float64], scores: NDArray[np.floating], times: int = 1) -> NDArray[np.float64]:
    """The highest scores so far, [HOLDING, ...] in descending order, with those of one segment more, [...].

    ``times``: how often that segment counts.
    """
    for _ in range(times):
        rest, made = scores, []
        for highest in top:
            made.append(np.maximum(highest, rest))
            rest = np.minimum(highest, rest)
        top = np.stack(made)
    return top


def check_resolution(resolution: Resolution) -> Resolution:
    """The resolution, a number as a float.

    Raises
    ------
    ArgumentError
        If it is neither ``"native"`` nor a number of seconds of at least 0.01.
    """
    if resolution == "native":
        return "native"
    if not (isinstance(resolution, int | float | np.number) and FINEST <= resolution < math.inf):
        raise ArgumentError(f"a resolution is 'native' or at least {FINEST} seconds, not {resolution}")
    return float(resolution)


def _tile_start(segment: int) -> float:
    return (FIRST_TILE + SEGMENT_HOP * segment) / SAMPLE_RATE if segment else 0.0


def _moved(edge: float, frames: int) -> float:
    return round(edge + int(frames) * FRAME, 6) if frames else edge


def _centred_before(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many segments are centred before each of `times`."""
    return np.ceil((times - EPSILON - CENTRE) / STEP).astype(np.int64).clip(0)


def _tile_at(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """The segment whose tile holds each of `times`, provided that the recording has so many."""
    return np.floor((times + EPSILON - FIRST_TILE / SAMPLE_RATE) / STEP).astype(np.int64).clip(0)
