"""From segment scores to cells and events, on scores that one can check by hand, and in whatever chunks they come."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.errors import ArgumentError
from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.timeline.events import Cells, Grid, Run, Runs

LENGTHS = st.integers(1, 30 * SAMPLE_RATE)  # samples
RESOLUTIONS = st.one_of(st.just("native"), st.sampled_from([0.1, 0.32, 1.0]), st.floats(0.05, 40))


def column(*scores: float) -> np.ndarray:
    return np.array(scores, np.float32)[:, None]


def chunked(scores: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    edges = [0, *sorted(cut % (len(scores) + 1) for cut in cuts), len(scores)]
    return [scores[start:stop] for start, stop in itertools.pairwise(edges)]


def grid(scores: np.ndarray, duration: float, resolution, cuts: list[int] = [], known: bool = False) -> Cells:  # noqa: B006
    """All cells; `known`: as if the recording were heard as its segments come, so that its length so far is known."""
    made, parts, segments = Grid(resolution, scores.shape[1]), [], 0
    for chunk in chunked(scores, cuts):
        segments += len(chunk)
        parts.append(made.add(chunk, min(duration, 0.32 * (segments + 4)) if known else 0.0))
    parts.append(made.finish(duration))
    edges = np.concatenate([part.edges[:-1] for part in parts[:-1]] + [parts[-1].edges])
    return Cells(edges, np.concatenate([part.scores for part in parts]))


def unmoved(scores: np.ndarray) -> np.ndarray:
    """Edges of tiles beside which nothing changes."""
    return np.zeros((len(scores) + 1, 2), np.int64)


def find_runs(scores: np.ndarray, threshold, duration: float, cuts: list[int] = [], edges=None) -> list[Run]:  # noqa: B006
    runs, edges = Runs(np.broadcast_to(threshold, scores.shape[1:])), unmoved(scores) if edges is None else edges
    parts = zip(chunked(scores, cuts), chunked(edges[:-1], cuts), strict=True)
    found = [run for part in parts for run in runs.add(*part)]
    return sorted(found + runs.finish(duration, edges[-1, 1]), key=lambda run: (run.column, run.onset))


def by_the_book(scores: np.ndarray, duration: float, resolution) -> Cells:
    """The rules of docs/timeline.md, one by one."""
    segments = len(scores)
    centres = [0.32 * k + 0.48 for k in range(segments)]
    tiles = [0.0, *(0.32 * k + 0.32 for k in range(1, segments)), duration]
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


def test_tiles_lie_around_the_centres_of_their_segments():
    edges = grid(np.zeros((14, 1), np.float32), 5.0, "native").edges
    np.testing.assert_allclose(edges[:3], [0, 0.64, 0.96])
    np.testing.assert_allclose(edges[-3:], [4.16, 4.48, 5.0])
    centres = 0.32 * np.arange(14) + 0.48
    assert (edges[:-1] < centres).all()
    assert (centres < edges[1:]).all()


def test_a_cell_takes_the_maximum_of_the_segments_centred_in_it():
    scores = np.linspace(0, 0.9, 14, dtype=np.float32)[:, None]  # centres 0.48, 0.80 | 1.12, 1.44, 1.76 | ...
    last = [1, 4, 7, 10, 13]  # 0.80, 1.76, 2.72, 3.68, 4.64
    np.testing.assert_array_equal(grid(scores, 5.0, 1.0).scores, scores[last])


def test_a_short_event_is_not_diluted_and_does_not_spread():
    scores = np.full((14, 1), 0.1, np.float32)
    scores[6] = 0.9  # centre 2.40 s, nominal span 1.92 to 2.88 s
    np.testing.assert_allclose(grid(scores, 5.0, 1.0).scores[:, 0], [0.1, 0.1, 0.9, 0.1, 0.1])


def test_a_centre_on_an_edge_belongs_to_the_later_cell():
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
@given(samples=LENGTHS, resolution=RESOLUTIONS, cuts=st.lists(st.integers(0, 100), max_size=40), known=st.booleans())
def test_a_grid_follows_the_rules_in_whatever_chunks_scores_come(samples, resolution, cuts, known):
    duration = samples / SAMPLE_RATE
    scores = np.random.default_rng(samples).random((segment_count(samples), 2), np.float32)
    cells = grid(scores, duration, resolution, cuts, known)
    expected = by_the_book(scores, duration, resolution)
    np.testing.assert_allclose(cells.edges, expected.edges, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(cells.scores, expected.scores)
    assert cells.edges[0] == 0
    assert cells.edges[-1] == duration
    assert (np.diff(cells.edges) > 0).all()
    np.testing.assert_array_equal(cells.scores.max(axis=0), scores.max(axis=0))  # no segment is lost


@pytest.mark.parametrize("resolution", [0.1, 1.0, 3.0, 60.0, "native"])
def test_a_cell_comes_as_soon_as_its_segments_do_and_nothing_older_is_held(resolution):
    made = Grid(resolution, 1)
    came = 0.0  # where the last cell that came ends
    for segment in range(1000):
        came = made.add(np.zeros((1, 1), np.float32), lasting=0.32 * segment + 1.6).edges[-1]  # when it is complete
        tile, centre = 0.32 * (segment + 1) + 0.32, 0.32 * (segment + 1) + 0.48  # of the next segment
        end = tile + 0.32 if resolution == "native" else came + resolution
        assert end > centre - 1e-6 or (came + end) / 2 > tile - 1e-6  # the next cell does need the next segment
        assert len(made.rows) <= 6
    assert came > 300 - 60


@pytest.mark.parametrize(("duration", "resolution", "cells"), [(5, 1, 5), (0.3 * 3, 0.3, 3), (5.01, 1, 6), (0.2, 1, 1)])
def test_the_number_of_cells(duration, resolution, cells):
    edges = grid(np.zeros((segment_count(round(duration * SAMPLE_RATE)), 1), np.float32), duration, resolution).edges
    assert len(edges) == cells + 1
    assert edges[-1] == duration


@pytest.mark.parametrize("resolution", [0, -1, 0.001, float("nan"), float("inf"), "fine", None])
def test_impossible_resolutions(resolution):
    with pytest.raises(ArgumentError, match="resolution"):
        Grid(resolution, 1)


def test_events_are_maximal_runs():
    scores = column(0.9, 0.01, 0.5, 0.75, 0.5, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.6)
    first, second, third = find_runs(scores, 0.5, 5.0)
    assert first == Run(0.0, 0.64, 0, pytest.approx(0.9))
    assert second == Run(1.28, 1.6, 0, pytest.approx((0.5 + 0.75 + 0.5) / 3))
    assert third == Run(4.48, 5.0, 0, pytest.approx(0.6))
    assert find_runs(column(0.0, 0.5, 0.5, 0.5, 0.0), 0.5, 2.0) == [Run(0.64, 1.28, 0, 0.5)]  # at the threshold counts


@pytest.mark.parametrize(
    ("scores", "score"),
    [
        ((0, 0.9, 0, 0, 0), 0.3),  # a moment of sound lies in three segments
        ((0, 0.9, 0.6, 0, 0), 0.5),
        ((0, 0.6, 0.9, 0.6, 0), 0.7),
        ((0.6, 0.9, 0.3, 0.6, 0), 0.7),  # the highest, wherever they are in the run
        ((0.9, 0, 0, 0, 0), 0.9),  # but the first 0.32 s lie in one alone
        ((0.9, 0.6, 0, 0, 0), 0.9),
        ((0.6, 0.9, 0, 0, 0), 0.7),
        ((0, 0, 0, 0, 0.9), 0.9),
        ((0, 0, 0, 0.9, 0.6), 0.7),
        ((0.6, 0.9, 0.9, 0.9, 0.6), 0.9),
        ((0.9,), 0.9),
        ((0.9, 0.6), 0.9),
    ],
)
def test_the_score_of_an_event_is_the_mean_of_its_three_highest(scores, score):
    duration = 0.32 * len(scores) + 0.6
    (event,) = find_runs(column(*scores), score - 1e-6, duration)
    assert event.score == pytest.approx(score)
    assert find_runs(column(*scores), score + 1e-6, duration) == []


def test_a_sound_is_followed_to_a_twentieth_of_the_threshold_and_loses_its_outermost_tiles():
    scores = column(0.022, 0.03, 0.3, 0.6, 0.6, 0.12, 0.7, 0.3, 0.03, 0.022, 0.3, 0.35, 0.3, 0.0)
    (event,) = find_runs(scores, 0.5, 5.0)  # what rises to 0.35 and no further is none
    assert event == Run(0.96, 2.88, 0, pytest.approx((0.6 + 0.6 + 0.7) / 3))
    assert find_runs(scores, 0.4, 5.0) == [Run(0.0, 4.16, 0, pytest.approx(1.9 / 3))]  # not where the recording begins


@pytest.mark.parametrize(
    ("scores", "onset", "offset"),
    [
        ((0, 0, 0.4, 0.8, 0.4, 0, 0), 1.28, 1.6),  # a click, which three segments hear
        ((0, 0, 0, 0.8, 0, 0, 0), 1.28, 1.6),
        ((0, 0, 0, 0.8, 0.4, 0, 0), 1.28, 1.6),
        ((0, 0, 0.4, 0.8, 0, 0, 0), 1.28, 1.6),
        ((0, 0, 0.8, 0.4, 0.4, 0, 0), 0.96, 1.6),
        ((0, 0, 0.8, 0.8, 0.8, 0, 0), 0.96, 1.6),  # of several, the first is the highest
        ((0.4, 0.8, 0, 0, 0, 0, 0), 0.0, 0.96),
        ((0, 0, 0, 0, 0, 0.4, 0.8), 2.24, 2.6),
        ((0, 0, 0, 0, 0, 0.8, 0.4), 1.92, 2.6),
    ],
)
def test_an_event_holds_its_highest_tile_even_where_that_is_an_outermost_one(scores, onset, offset):
    (event,) = find_runs(column(*scores), 0.25, 2.6)
    assert (event.onset, event.offset) == (pytest.approx(onset), pytest.approx(offset))


def test_events_that_end_with_one_segment_come_by_offset():
    scores = np.array([[0, 0], [0.9, 0.9], [0.4, 0.95], [0, 0]], np.float32)
    assert [(run.offset, run.column) for run in Runs([0.4, 0.4]).add(scores[:, ::-1], unmoved(scores)[1:])] == [
        (0.96, 1),
        (1.28, 0),
    ]


@pytest.mark.parametrize("cuts", [[], [3], [4], [2, 3, 4, 5]])
@pytest.mark.parametrize(
    ("scores", "onset", "offset"),
    [
        ((0, 0, 0.2, 0.8, 0.2, 0, 0), 1.28 + 0.03, 1.6 + 0.14),  # tile 3, which ends where tile 4 begins
        ((0, 0, 0.8, 0.2, 0.2, 0, 0), 0.96 + 0.02, 1.6 + 0.14),
        ((0, 0, 0.2, 0.2, 0.8, 0, 0), 1.28 + 0.03, 1.92 + 0.15),
        ((0.8, 0.2, 0.2, 0, 0, 0, 0), 0.2, 0.96 + 0.12),
        ((0, 0, 0, 0, 0.2, 0.8, 0.8), 1.92 + 0.05, 2.6 - 0.3),
    ],
)
def test_events_begin_and_end_where_the_level_changes_near_their_tiles(scores, onset, offset, cuts):
    edges = np.array([[20, 0], *([tile, tile + 10] for tile in range(1, 7)), [0, -30]])  # frames
    (run,) = find_runs(column(*scores), 0.4, 2.6, cuts, edges)
    assert (run.onset, run.offset) == (pytest.approx(onset), pytest.approx(offset))


@pytest.mark.parametrize("tile", range(3, 40))
def test_what_would_leave_next_to_nothing_of_an_event_does_not_count(tile):
    scores, edges = np.zeros((43, 1), np.float32), np.zeros((44, 2), np.int64)
    scores[tile - 1 : tile + 2, 0] = 0.2, 0.8, 0.2
    start = 0.32 * tile + 0.32
    edges[tile, 0], edges[tile + 1, 1] = 10, -12  # 0.1 s are left
    (run,) = find_runs(scores, 0.4, 14.2, edges=edges)
    assert (run.onset, run.offset) == (pytest.approx(start + 0.1), pytest.approx(start + 0.2))
    edges[tile, 0] = 11
    (run,) = find_runs(scores, 0.4, 14.2, edges=edges)
    assert (run.onset, run.offset) == (pytest.approx(start), pytest.approx(start + 0.32))


def test_events_of_a_class_do_not_overlap():
    scores, edges = column(0, 0, 0, 0.8, 0, 0.8, 0, 0), np.zeros((9, 2), np.int64)
    edges[4, 1], edges[5, 0] = 32, -30
    assert [(run.onset, run.offset) for run in find_runs(scores, 0.25, 2.9, edges=edges)] == [
        (1.28, 1.92),
        (1.92, 2.24),
    ]


def test_a_recording_shorter_than_a_segment_has_one_tile():
    assert find_runs(column(0.8), 0.5, 0.2) == [Run(0.0, 0.2, 0, pytest.approx(0.8))]
    assert find_runs(column(0.4), 0.5, 0.2) == []


def test_thresholds_can_differ_by_class():
    scores = np.full((14, 3), 0.5, np.float32)
    assert [run.column for run in find_runs(scores, [0.4, 0.6, 0.5], 5.0)] == [0, 2]


def test_events_come_with_the_segment_that_ends_them():
    runs = Runs([0.5])
    assert runs.add(column(0.01, 0.9, 0.9), np.zeros((3, 2), np.int64)) == []
    assert runs.add(column(0.01, 0.6), np.zeros((2, 2), np.int64)) == [Run(0.64, 0.96, 0, pytest.approx(0.6))]
    assert runs.finish(2.3, 0) == [Run(1.6, 2.3, 0, pytest.approx(0.6))]


@settings(max_examples=100, deadline=None)
@given(samples=LENGTHS, threshold=st.floats(0, 1), cuts=st.lists(st.integers(0, 100), max_size=40))
def test_events_are_runs_of_sustained_tiles_without_the_outermost(samples, threshold, cuts):
    segments = segment_count(samples)
    duration = samples / SAMPLE_RATE
    scores = np.random.default_rng(samples).random((segments, 2), np.float32) ** 6  # most of them low
    edges = grid(scores, duration, "native").edges
    middles = (edges[:-1] + edges[1:]) / 2
    found = []
    for run in find_runs(scores, threshold, duration, cuts):
        inside = np.flatnonzero((run.onset < middles) & (middles < run.offset))
        found.append((run.column, inside.tolist(), pytest.approx(run.score)))
    assert found == list(rule(scores, threshold))


def rule(scores: np.ndarray, threshold: float):
    """That of docs/timeline.md, run by run: class, tiles and score of each event."""
    last = len(scores) - 1
    for place, mine in enumerate(scores.T):
        places = np.flatnonzero(mine >= 0.05 * threshold)
        for tiles in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
            if not len(tiles):
                continue
            times = [3 if tile in (0, last) else 1 for tile in tiles]
            score = sum(sorted(np.repeat(mine[tiles].astype(float), times).tolist())[-3:]) / 3
            if score >= threshold:
                highest = tiles[mine[tiles].argmax()]
                outermost = {*tiles[[0, -1]].tolist()} - {highest, 0, last}
                yield place, [tile for tile in tiles.tolist() if tile not in outermost], score
