"""Segment scores → a grid of cells → events. The why of each rule is in docs/timeline.md.

Segment ``k`` is centred at ``0.32 k + 0.48`` s and owns the *tile* ``[0.32 k + 0.32, 0.32 k + 0.64)``;
the first tile reaches back to 0, the last on to the end of the recording. Tiles cover the recording
without gaps or overlaps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sedkit.errors import ArgumentError
from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN

FINEST = 0.01  # seconds, of a cell
EPSILON = 1e-6  # seconds; times closer than this are one


@dataclass(frozen=True, slots=True)
class Run:
    """A maximal run of tiles in which one class stays at or above its threshold.

    ``onset`` and ``offset`` in seconds; ``column``, the class; ``score``, the highest in the run.
    """

    onset: float
    offset: float
    column: int
    score: float


def tile_edges(segments: int, duration: float) -> NDArray[np.float64]:
    """Edges of the tiles of `segments` segments, [segments + 1] in seconds, from 0 to `duration`."""
    first = (SEGMENT_SPAN - SEGMENT_HOP) // 2
    edges = (first + SEGMENT_HOP * np.arange(segments + 1.0)) / SAMPLE_RATE
    edges[0], edges[-1] = 0.0, duration
    return edges


def cell_edges(duration: float, resolution: float) -> NDArray[np.float64]:
    """Edges of the grid, [cells + 1] in seconds: multiples of `resolution`, the last one `duration`.

    Raises
    ------
    ArgumentError
        If `resolution` is not a number of seconds of at least 0.01.
    """
    if not (isinstance(resolution, int | float | np.number) and FINEST <= resolution < math.inf):
        raise ArgumentError(f"a resolution is 'native' or at least {FINEST} seconds, not {resolution}")
    cells = max(1, math.ceil((duration - EPSILON) / resolution))
    edges = resolution * np.arange(cells + 1.0)
    edges[-1] = duration
    return edges


def pool(segments: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scores of grid cells, [cells, classes], from segment scores, [K, classes].

    A cell takes the maximum over the segments centred in it; a cell without a centre takes the
    segment whose tile holds the cell's middle.
    """
    centres = (SEGMENT_SPAN / 2 + SEGMENT_HOP * np.arange(len(segments))) / SAMPLE_RATE
    bounds = np.searchsorted(centres, edges - EPSILON)
    bounds[-1] = len(segments)
    middles = (edges[:-1] + edges[1:]) / 2
    tiles = tile_edges(len(segments), edges[-1])
    nearest = np.searchsorted(tiles[1:-1], middles + EPSILON, side="right")
    filled = bounds[:-1] < bounds[1:]
    cells = segments[nearest]
    cells[filled] = np.maximum.reduceat(segments, bounds[:-1][filled])
    return cells


def find_runs(segments: NDArray[np.float32], thresholds: ArrayLike, duration: float) -> list[Run]:
    """Events in segment scores [K, classes], class by class, each in order of time.

    Parameters
    ----------
    thresholds : one number, or one a class; a segment counts at or above it.
    duration : seconds of the recording, where the last tile ends.
    """
    edges = tile_edges(len(segments), duration)
    active = np.pad(segments >= np.asarray(thresholds), ((1, 1), (0, 0)))
    change = np.diff(active.astype(np.int8), axis=0)  # [K + 1, classes]: 1 where a run starts, -1 after it ends
    starts, stops = np.argwhere(change.T == 1), np.argwhere(change.T == -1)  # both by class, then by time
    return [
        Run(float(edges[start]), float(edges[stop]), int(column), float(segments[start:stop, column].max()))
        for (column, start), (_, stop) in zip(starts, stops, strict=True)
    ]
