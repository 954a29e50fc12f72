"""The grid of a timeline: segment scores → one score per class and cell. docs/timeline.md explains the rules.

With WELS-Net's geometry, segment ``k`` is centred at ``0.32 k + 0.48`` s. It represents the *tile*
``[0.32 k + 0.32, 0.32 k + 0.64)`` s: a segment hop in the middle of its span. The first tile begins at 0, and the last
tile ends with the recording. The tiles cover the recording without gaps or overlaps.

Cells are final when they are returned, and do not depend on the chunks in which the scores arrive.
"""

from __future__ import annotations

import math
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
        segments = self.first + len(self.rows)
        if segments > 1:  # the last hop of segment K holds samples, see sedkit.geometry
            known_duration = max(known_duration, self._shortest(segments) - CLOCK_TOLERANCE)
        edges = self._edges(max(self.cells, self._cells_with_final_edges(known_duration)))
        bounds, nearest = self._centred_before(edges), self._tile_at((edges[:-1] + edges[1:]) / 2)
        needed = np.where(bounds[:-1] < bounds[1:], bounds[1:] - 1, nearest)  # the last segment that each cell needs
        complete = np.searchsorted(np.maximum.accumulate(needed), segments)
        cells = self._close(edges[: complete + 1])
        self._merge()
        return cells

    def finish(self, duration: float) -> Cells:
        """Return the remaining cells of a recording of `duration` seconds."""
        if self.resolution == "native":
            total = self.first + len(self.rows)
        else:
            total = max(1, math.ceil((duration - EPSILON) / self.resolution))
        edges = self._edges(total)
        edges[-1] = duration
        return self._close(edges, last=True)

    def _cells_with_final_edges(self, known_duration: float) -> int:
        """Number of cells that cannot be the last one, whose end would depend on the duration."""
        if self.resolution == "native":
            after_first = known_duration - CLOCK_TOLERANCE - self.geometry.segment_span / self.geometry.sample_rate
            return math.ceil(after_first / self.geometry.step)
        return math.ceil((known_duration - EPSILON) / self.resolution) - 1

    def _edges(self, stop: int) -> NDArray[np.float64]:
        """Edges of the cells from the next one up to, but not including, cell `stop`."""
        if self.resolution == "native":
            return np.array([self.geometry.tile_start(segment) for segment in range(self.cells, stop + 1)])
        return self.resolution * np.arange(self.cells, stop + 1.0)

    def _close(self, edges: NDArray[np.float64], last: bool = False) -> Cells:
        """Return the cells between `edges`, and drop the segments that no later cell needs."""
        bounds = (self._centred_before(edges) - self.first).clip(0, len(self.rows))
        if last:
            bounds[-1] = len(self.rows)
        nearest = (self._tile_at((edges[:-1] + edges[1:]) / 2) - self.first).clip(0, len(self.rows) - 1)
        filled = bounds[:-1] < bounds[1:]
        scores = self.rows[nearest]
        if filled.any():
            scores[filled] = np.maximum.reduceat(self.rows[: bounds[-1]], bounds[:-1][filled])
        self.cells += len(scores)
        self._drop(max(0, int(bounds[-1]) - 1))  # the last segment may be the nearest one of the next cell
        return Cells(edges, scores)

    def _merge(self) -> None:
        """Reduce the segments of the unfinished cell to their maximum and the last one (the next cell may need it)."""
        bounds = (self._centred_before(self._edges(self.cells + 1)) - self.first).clip(0, len(self.rows))
        start, stop = bounds.tolist()
        if stop - start > 2:
            self.rows[stop - 2] = self.rows[start : stop - 1].max(axis=0)
            self._drop(stop - 2)

    def _shortest(self, segments: int) -> float:
        """Seconds that a recording of so many segments, more than one, exceeds."""
        return (self.geometry.segment_span + (segments - 2) * self.geometry.segment_hop) / self.geometry.sample_rate

    def _centred_before(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number of segments whose centre lies before each of `times`."""
        return np.ceil((times - EPSILON - self.geometry.centre) / self.geometry.step).astype(np.int64).clip(0)

    def _tile_at(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """The segment whose tile contains each of `times`, if the recording has that many segments."""
        first = self.geometry.first_tile / self.geometry.sample_rate
        return np.floor((times + EPSILON - first) / self.geometry.step).astype(np.int64).clip(0)

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
