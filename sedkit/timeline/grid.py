"""The grid of a timeline: segment scores → one score per class and cell. docs/timeline.md explains the rules.

With WELS-Net's geometry, segment ``k`` is centred at ``0.32 k + 0.48`` s. It represents the *tile*
``[0.32 k + 0.32, 0.32 k + 0.64)`` s: a segment hop in the middle of its span. The first tile begins at 0, and the last
tile ends with the recording. The tiles cover the recording without gaps or overlaps.

Cells are final when they are returned, and do not depend on the chunks in which the scores arrive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import ArgumentError
from sedkit.geometry import WELS_NET, Geometry

Resolution: TypeAlias = float | Literal["native"]  # seconds per cell, or one cell per segment

FINEST_RESOLUTION = 0.01  # seconds
EPSILON = 1e-6  # seconds; times that differ by less are equal
CLOCK_TOLERANCE = 1e-3  # seconds; duration at the model's and at the recording's own sample rate differ by less


class Cells(NamedTuple):
    """Neighbouring cells of the grid: ``edges``, [n + 1] in seconds, and ``scores``, [n, classes]."""

    edges: NDArray[np.float64]
    scores: NDArray[np.float32]


class Grid:
    """The cells of one recording, computed while its segment scores arrive.

    The score of a cell is the maximum over the segments centred in it. A cell without a centre takes the score of the
    segment whose tile contains the middle of the cell. The last cell ends with the recording.

    Parameters
    ----------
    resolution : seconds per cell; ``"native"`` makes each tile a cell.
    classes : number of classes.
    geometry : of the model.

    Raises
    ------
    ArgumentError
        If `resolution` is neither ``"native"`` nor a number of seconds of at least 0.01.
    """

    def __init__(self, resolution: Resolution, classes: int, geometry: Geometry = WELS_NET) -> None:
        self.resolution, self.geometry = check_resolution(resolution), geometry
        self.cells = 0  # number of cells returned so far
        self.first = 0  # segment of rows[0]
        self.rows = np.zeros((0, classes), np.float32)  # scores of the segments that later cells need

    def add(self, scores: NDArray[np.float32], known_duration: float = 0.0) -> Cells:
        """Add the scores of the next segments; return the cells that are now complete.

        Parameters
        ----------
        scores : [k, classes].
        known_duration : the recording is known to last at least this many seconds. Without it, a cell is complete only
            one or two segments later.
        """
        self.rows = np.concatenate([self.rows, scores])
        if self.segments > 1:  # the last hop of segment K holds samples, see sedkit.geometry
            known_duration = max(known_duration, self._shortest(self.segments) - CLOCK_TOLERANCE)
        final = self._cells_with_final_edges(known_duration)
        edges, cells = [self._edge(self.cells)], list[NDArray[np.float32]]()
        while self.cells < final:
            end = self._edge(self.cells + 1)
            first, stop = self._segments_of(edges[-1], end)
            if stop > self.segments:
                break
            edges.append(end)
            cells.append(self._highest(first, stop))
            self.cells += 1
        self._forget(self._centred_before(edges[-1]))
        return self._made(edges, cells)

    def finish(self, duration: float) -> Cells:
        """Return the remaining cells of a recording of `duration` seconds."""
        last = self.segments - 1
        total = last + 1 if self.resolution == "native" else math.ceil((duration - EPSILON) / self.resolution)
        edges = [*(self._edge(cell) for cell in range(self.cells, max(1, total))), duration]
        cells = []
        for start, end in pairwise(edges[:-1]):
            first, stop = self._segments_of(start, end)
            cells.append(self._highest(min(first, last), min(stop, last + 1)))
        cells.append(self._highest(min(self._centred_before(edges[-2]), last), last + 1))
        return self._made(edges, cells)

    @property
    def segments(self) -> int:
        """Number of segments so far."""
        return self.first + len(self.rows)

    def _cells_with_final_edges(self, known_duration: float) -> int:
        """Number of cells that cannot be the last one, whose end would depend on the duration."""
        if self.resolution == "native":
            after_first = known_duration - CLOCK_TOLERANCE - self.geometry.segment_span / self.geometry.sample_rate
            return math.ceil(after_first / self.geometry.step)
        return math.ceil((known_duration - EPSILON) / self.resolution) - 1

    def _edge(self, cell: int) -> float:
        """Start of a cell."""
        return self.geometry.tile_start(cell) if self.resolution == "native" else self.resolution * cell

    def _segments_of(self, start: float, end: float) -> tuple[int, int]:
        """First and last + 1 of the segments whose maximum is the score of a cell."""
        first, stop = self._centred_before(start), self._centred_before(end)
        if first < stop:
            return first, stop
        nearest = self._tile_at((start + end) / 2)
        return nearest, nearest + 1

    def _highest(self, first: int, stop: int) -> NDArray[np.float32]:
        """Maximum of segments; of those that :meth:`_forget` has reduced, there is only that."""
        highest: NDArray[np.float32] = self.rows[max(0, first - self.first) : stop - self.first].max(axis=0)
        return highest

    def _made(self, edges: Sequence[float], cells: Sequence[NDArray[np.float32]]) -> Cells:
        return Cells(np.array(edges), np.array(cells, np.float32).reshape(len(cells), self.rows.shape[1]))

    def _forget(self, start: int) -> None:
        """Drop the segments before those centred in the next cell, and reduce these to their maximum and the last one.

        One segment before them stays, and the last one, since they may be the nearest of the next cell and of that
        after it.
        """
        self._drop(max(0, min(start, self.segments) - 1 - self.first))
        unfinished = self.rows[max(0, start - self.first) : -1]
        if len(unfinished) > 1:
            self.rows[-2] = unfinished.max(axis=0)
            self._drop(len(self.rows) - 2)

    def _shortest(self, segments: int) -> float:
        """Seconds that a recording of so many segments, more than one, exceeds."""
        return (self.geometry.segment_span + (segments - 2) * self.geometry.segment_hop) / self.geometry.sample_rate

    def _centred_before(self, time: float) -> int:
        """Number of segments whose centre lies before a time."""
        return max(0, math.ceil((time - EPSILON - self.geometry.centre) / self.geometry.step))

    def _tile_at(self, time: float) -> int:
        """The segment whose tile contains a time, if the recording has that many segments."""
        first = self.geometry.first_tile / self.geometry.sample_rate
        return max(0, math.floor((time + EPSILON - first) / self.geometry.step))

    def _drop(self, rows: int) -> None:
        self.rows = self.rows[rows:]
        self.first += rows


def check_resolution(resolution: Resolution) -> Resolution:
    """Return the resolution, a number converted to float.

    Raises
    ------
    ArgumentError
        If it is neither ``"native"`` nor a number of seconds of at least 0.01.
    """
    if resolution == "native":
        return "native"
    number = isinstance(resolution, int | float | np.number) and not isinstance(resolution, bool)
    if not (number and FINEST_RESOLUTION <= resolution < math.inf):
        raise ArgumentError(f"resolution must be 'native' or at least {FINEST_RESOLUTION} seconds, not {resolution}")
    return float(resolution)
