"""From segment scores to cells and events, on scores that one can check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.errors import ArgumentError
from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.timeline import Run, cell_edges, find_runs, pool, tile_edges

LENGTHS = st.integers(1, 30 * SAMPLE_RATE)  # samples


def column(*scores: float) -> np.ndarray:
    return np.array(scores, np.float32)[:, None]


def test_tiles_lie_around_the_centres_of_their_segments():
    edges = tile_edges(14, 5.0)  # 5 s
    np.testing.assert_allclose(edges[:3], [0, 0.64, 0.96])
    np.testing.assert_allclose(edges[-3:], [4.16, 4.48, 5.0])
    centres = 0.32 * np.arange(14) + 0.48
    assert (edges[:-1] < centres).all()
    assert (centres < edges[1:]).all()


@settings(max_examples=200, deadline=None)
@given(samples=LENGTHS)
def test_tiles_cover_any_recording_without_gaps(samples):
    duration = samples / SAMPLE_RATE
    edges = tile_edges(segment_count(samples), duration)
    assert edges[0] == 0
    assert edges[-1] == duration
    assert (np.diff(edges) > 0).all()


def test_a_cell_takes_the_maximum_of_the_segments_centred_in_it():
    scores = np.linspace(0, 0.9, 14, dtype=np.float32)[:, None]  # centres 0.48, 0.80 | 1.12, 1.44, 1.76 | ...
    cells = pool(scores, cell_edges(5.0, 1.0))
    last = [1, 4, 7, 10, 13]  # 0.80, 1.76, 2.72, 3.68, 4.64
    np.testing.assert_array_equal(cells, scores[last])


def test_a_short_event_is_not_diluted_and_does_not_spread():
    scores = np.full((14, 1), 0.1, np.float32)
    scores[6] = 0.9  # centre 2.40 s, nominal span 1.92 to 2.88 s
    np.testing.assert_allclose(pool(scores, cell_edges(5.0, 1.0))[:, 0], [0.1, 0.1, 0.9, 0.1, 0.1])


def test_a_centre_on_an_edge_belongs_to_the_later_cell():
    scores = np.zeros((14, 1), np.float32)
    scores[11] = 1  # centre exactly 4.0 s
    np.testing.assert_array_equal(pool(scores, cell_edges(5.0, 1.0))[:, 0], [0, 0, 0, 0, 1])


def test_cells_without_a_centre_take_the_nearest_segment():
    scores = np.arange(14, dtype=np.float32)[:, None] / 14
    cells = pool(scores, cell_edges(5.0, 0.1))
    middles = np.arange(50) * 0.1 + 0.05
    nearest = np.abs(middles[:, None] - (0.32 * np.arange(14) + 0.48)).argmin(axis=1)
    np.testing.assert_array_equal(cells[:, 0], scores[nearest, 0])
    rest = pool(scores, cell_edges(5.05, 1.0))  # a last cell of 0.05 s
    assert rest.shape == (6, 1)
    assert rest[-1] == scores[-1]


@settings(max_examples=200, deadline=None)
@given(samples=LENGTHS, resolution=st.floats(0.05, 40))
def test_a_grid_covers_the_recording_and_loses_no_segment(samples, resolution):
    duration = samples / SAMPLE_RATE
    edges = cell_edges(duration, resolution)
    assert edges[0] == 0
    assert edges[-1] == duration
    assert (np.diff(edges) > 0).all()
    assert np.diff(edges).max() <= resolution * (1 + 1e-6) + 1e-6
    scores = np.random.default_rng(samples).random((segment_count(samples), 2), np.float32)
    cells = pool(scores, edges)
    assert cells.shape == (len(edges) - 1, 2)
    assert np.isin(cells, scores).all()
    np.testing.assert_array_equal(cells.max(axis=0), scores.max(axis=0))


@pytest.mark.parametrize(("duration", "resolution", "cells"), [(5, 1, 5), (0.3 * 3, 0.3, 3), (5.01, 1, 6), (0.2, 1, 1)])
def test_the_number_of_cells(duration, resolution, cells):
    edges = cell_edges(duration, resolution)
    assert len(edges) == cells + 1
    assert edges[-1] == duration


@pytest.mark.parametrize("resolution", [0, -1, 0.001, float("nan"), float("inf"), "fine", None])
def test_impossible_resolutions(resolution):
    with pytest.raises(ArgumentError, match="resolution"):
        cell_edges(5.0, resolution)


def test_events_are_maximal_runs():
    scores = column(0.9, 0.2, 0.5, 0.7, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.6)
    first, second, third = find_runs(scores, 0.5, 5.0)
    assert first == Run(0.0, 0.64, 0, pytest.approx(0.9))
    assert second == Run(0.96, 1.6, 0, pytest.approx(0.7))  # at the threshold counts
    assert third == Run(4.48, 5.0, 0, pytest.approx(0.6))


def test_a_recording_shorter_than_a_segment_has_one_tile():
    assert find_runs(column(0.8), 0.5, 0.2) == [Run(0.0, 0.2, 0, pytest.approx(0.8))]
    assert find_runs(column(0.4), 0.5, 0.2) == []


def test_thresholds_can_differ_by_class():
    scores = np.full((14, 3), 0.5, np.float32)
    assert [run.column for run in find_runs(scores, [0.4, 0.6, 0.5], 5.0)] == [0, 2]


@settings(max_examples=100, deadline=None)
@given(samples=LENGTHS, threshold=st.floats(0, 1))
def test_events_are_the_active_tiles_and_nothing_else(samples, threshold):
    segments = segment_count(samples)
    duration = samples / SAMPLE_RATE
    scores = np.random.default_rng(samples).random((segments, 2), np.float32)
    edges = tile_edges(segments, duration)
    middles = (edges[:-1] + edges[1:]) / 2
    painted = np.zeros(scores.shape, bool)
    for run in find_runs(scores, threshold, duration):
        inside = (run.onset < middles) & (middles < run.offset)
        assert not painted[inside, run.column].any()
        assert run.score == scores[inside, run.column].max()
        painted[inside, run.column] = True
    np.testing.assert_array_equal(painted, scores >= threshold)
