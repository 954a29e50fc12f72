"""sedkit.timeline.grid, on scores that can be checked by hand and against the rules of docs/timeline.md."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.errors import ArgumentError
from sedkit.geometry import SAMPLE_RATE, WELS_NET, Geometry, segment_count
from sedkit.timeline.grid import Cells, Grid

GEOMETRIES = (
    WELS_NET,
    Geometry(SAMPLE_RATE, 7_680, 15_360, 15_840),
    Geometry(SAMPLE_RATE, 16_000, 32_000, 32_000),
    Geometry(SAMPLE_RATE, 15_680, 16_000, 16_000),
)
LENGTHS = st.integers(1, 30 * SAMPLE_RATE)  # samples
RESOLUTIONS = st.one_of(st.just("native"), st.sampled_from([0.1, 0.32, 1.0]), st.floats(0.05, 40))


def chunked(scores: np.ndarray, cuts: Sequence[int]) -> list[np.ndarray]:
    edges = [0, *sorted(cut % (len(scores) + 1) for cut in cuts), len(scores)]
    return [scores[start:stop] for start, stop in itertools.pairwise(edges)]


def grid(
    scores: np.ndarray, duration: float, resolution, cuts: Sequence[int] = (), known: bool = False, geometry=WELS_NET
) -> Cells:
    """All cells. `known`: pass the duration that is known while the recording plays."""
    cells, parts, segments = Grid(resolution, scores.shape[1], geometry), [], 0
    for chunk in chunked(scores, cuts):
        segments += len(chunk)
        parts.append(cells.add(chunk, min(duration, geometry.step * segments) if known else 0.0))
    parts.append(cells.finish(duration))
    edges = np.concatenate([part.edges[:-1] for part in parts[:-1]] + [parts[-1].edges])
    return Cells(edges, np.concatenate([part.scores for part in parts]))


def reference_grid(scores: np.ndarray, duration: float, resolution, geometry=WELS_NET) -> Cells:
    """The rules of docs/timeline.md, cell by cell."""
    segments, hop, span = len(scores), geometry.segment_hop / SAMPLE_RATE, geometry.segment_span / SAMPLE_RATE
    centres = [hop * k + span / 2 for k in range(segments)]
    tiles = [0.0, *(hop * k + (span - hop) / 2 for k in range(1, segments)), duration]
    if resolution == "native":
        return Cells(np.array(tiles), scores)
    edges = [resolution * i for i in range(max(1, math.ceil((duration - 1e-6) / resolution)))] + [duration]
    cells = []
    for start, end in itertools.pairwise(edges):
        stop = math.inf if end == duration else end
        inside = [k for k in range(segments) if start - 1e-6 <= centres[k] < stop - 1e-6]
        middle = (start + end) / 2 + 1e-6
        nearest = sum(start <= middle for start in tiles[1:-1])
        cells.append(scores[inside].max(axis=0) if inside else scores[nearest])
    return Cells(np.array(edges), np.array(cells))


def test_tiles_contain_the_centres_of_their_segments():
    edges = grid(np.zeros((14, 1), np.float32), 5.0, "native").edges
    np.testing.assert_allclose(edges[:3], [0, 0.64, 0.96])
    np.testing.assert_allclose(edges[-3:], [4.16, 4.48, 5.0])
    centres = 0.32 * np.arange(14) + 0.48
    assert (edges[:-1] < centres).all()
    assert (centres < edges[1:]).all()


def test_cell_score_is_the_maximum_over_the_segments_centred_in_it():
    scores = np.linspace(0, 0.9, 14, dtype=np.float32)[:, None]  # centres 0.48, 0.80 | 1.12, 1.44, 1.76 | ...
    last = [1, 4, 7, 10, 13]  # 0.80, 1.76, 2.72, 3.68, 4.64
    np.testing.assert_array_equal(grid(scores, 5.0, 1.0).scores, scores[last])


def test_short_event_is_in_one_cell_with_its_full_score():
    scores = np.full((14, 1), 0.1, np.float32)
    scores[6] = 0.9  # centre 2.40 s, nominal span 1.92 to 2.88 s
    np.testing.assert_allclose(grid(scores, 5.0, 1.0).scores[:, 0], [0.1, 0.1, 0.9, 0.1, 0.1])


def test_centre_on_an_edge_belongs_to_the_later_cell():
    scores = np.zeros((14, 1), np.float32)
    scores[11] = 1  # centre exactly 4.0 s
    np.testing.assert_array_equal(grid(scores, 5.0, 1.0).scores[:, 0], [0, 0, 0, 0, 1])


def test_cells_without_a_centre_take_the_nearest_segment():
    scores = np.arange(14, dtype=np.float32)[:, None] / 14
    cells = grid(scores, 5.0, 0.1).scores
    middles = np.arange(50) * 0.1 + 0.05
    nearest = np.abs(middles[:, None] - (0.32 * np.arange(14) + 0.48)).argmin(axis=1)
    np.testing.assert_array_equal(cells[:, 0], scores[nearest, 0])
    rest = grid(scores, 5.05, 1.0).scores  # a last cell of 0.05 s
    assert rest.shape == (6, 1)
    assert rest[-1] == scores[-1]


@settings(max_examples=150, deadline=None)
@given(
    samples=LENGTHS,
    resolution=RESOLUTIONS,
    cuts=st.lists(st.integers(0, 100), max_size=40),
    known=st.booleans(),
    geometry=st.sampled_from(GEOMETRIES),
)
def test_grid_equals_the_reference_for_any_chunks(samples, resolution, cuts, known, geometry):
    duration = samples / SAMPLE_RATE
    scores = np.random.default_rng(samples).random((geometry.segment_count(samples), 2), np.float32)
    cells = grid(scores, duration, resolution, cuts, known, geometry)
    expected = reference_grid(scores, duration, resolution, geometry)
    np.testing.assert_allclose(cells.edges, expected.edges, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(cells.scores, expected.scores)
    assert cells.edges[0] == 0
    assert cells.edges[-1] == duration
    assert (np.diff(cells.edges) > 0).all()
    np.testing.assert_array_equal(cells.scores.max(axis=0), scores.max(axis=0))  # every segment is in a cell


@pytest.mark.parametrize("resolution", [0.1, 1.0, 3.0, 60.0, "native"])
def test_cells_come_as_early_as_possible_and_old_segments_are_dropped(resolution):
    cells = Grid(resolution, 1)
    last_end = 0.0  # of the cells returned so far
    for segment in range(1000):
        known_duration = 0.32 * segment + 1.6  # when the segment is complete
        last_end = cells.add(np.zeros((1, 1), np.float32), known_duration).edges[-1]
        tile, centre = 0.32 * (segment + 1) + 0.32, 0.32 * (segment + 1) + 0.48  # of the next segment
        end = tile + 0.32 if resolution == "native" else last_end + resolution
        assert end > centre - 1e-6 or (last_end + end) / 2 > tile - 1e-6  # the next cell needs the next segment
        assert len(cells.rows) <= 6
    assert last_end > 300 - 60


@pytest.mark.parametrize(("duration", "resolution", "cells"), [(5, 1, 5), (0.3 * 3, 0.3, 3), (5.01, 1, 6), (0.2, 1, 1)])
def test_number_of_cells(duration, resolution, cells):
    edges = grid(np.zeros((segment_count(round(duration * SAMPLE_RATE)), 1), np.float32), duration, resolution).edges
    assert len(edges) == cells + 1
    assert edges[-1] == duration


@pytest.mark.parametrize("resolution", [0, -1, 0.001, float("nan"), float("inf"), "fine", None, True])
def test_invalid_resolution(resolution):
    with pytest.raises(ArgumentError, match="resolution"):
        Grid(resolution, 1)
