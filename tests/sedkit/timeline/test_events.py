"""sedkit.timeline.events, on scores that can be checked by hand and against the rules of docs/timeline.md."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.timeline.detection import detect
from sedkit.timeline.events import DetectedEvent, HysteresisDetector
from sedkit.timeline.grid import Grid
from sedkit.timeline.settings import ColumnSettings


def column(*scores: float) -> np.ndarray:
    return np.array(scores, np.float32)[:, None]


def chunked(scores: np.ndarray, cuts: Sequence[int]) -> list[np.ndarray]:
    edges = [0, *sorted(cut % (len(scores) + 1) for cut in cuts), len(scores)]
    return [scores[start:stop] for start, stop in itertools.pairwise(edges)]


def no_level_changes(scores: np.ndarray) -> np.ndarray:
    """The result of level_changes for a recording of constant level."""
    return np.zeros((len(scores) + 1, 2), np.int64)


def find_events(
    scores: np.ndarray, threshold, duration: float, cuts: Sequence[int] = (), edges=None, hold=math.inf, leave=0.05
) -> list[DetectedEvent]:
    detector = HysteresisDetector(
        ColumnSettings.uniform(np.broadcast_to(threshold, scores.shape[1:]), leave=leave, hold=hold)
    )
    edges = no_level_changes(scores) if edges is None else edges
    parts = zip(chunked(scores, cuts), chunked(edges[:-1], cuts), strict=True)
    events = [event for part in parts for event in detector.add(*part)]
    return sorted(events + detector.finish(duration, edges[-1, 1]), key=lambda event: (event.column, event.onset))


def test_events_are_maximal_runs_of_tiles():
    scores = column(0.9, 0.01, 0.5, 0.75, 0.5, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 0.6)
    first, second, third = find_events(scores, 0.5, 5.0)
    assert first == DetectedEvent(0.0, 0.64, 0, pytest.approx(0.9))
    assert second == DetectedEvent(1.28, 1.6, 0, pytest.approx((0.5 + 0.75 + 0.5) / 3))
    assert third == DetectedEvent(4.48, 5.0, 0, pytest.approx(0.6))
    assert find_events(column(0.0, 0.5, 0.5, 0.5, 0.0), 0.5, 2.0) == [
        DetectedEvent(0.64, 1.28, 0, 0.5)
    ]  # equal to the threshold


@pytest.mark.parametrize(
    ("scores", "score"),
    [
        ((0, 0.9, 0, 0, 0), 0.3),  # a short sound is in three segments
        ((0, 0.9, 0.6, 0, 0), 0.5),
        ((0, 0.6, 0.9, 0.6, 0), 0.7),
        ((0.6, 0.9, 0.3, 0.6, 0), 0.7),  # the three highest need not be adjacent
        ((0.9, 0, 0, 0, 0), 0.9),  # the first 0.32 s are in one segment only
        ((0.9, 0.6, 0, 0, 0), 0.9),
        ((0.6, 0.9, 0, 0, 0), 0.7),
        ((0, 0, 0, 0, 0.9), 0.9),
        ((0, 0, 0, 0.9, 0.6), 0.7),
        ((0.6, 0.9, 0.9, 0.9, 0.6), 0.9),
        ((0.9,), 0.9),
        ((0.9, 0.6), 0.9),
    ],
)
def test_event_score_is_the_mean_of_the_three_highest(scores, score):
    duration = 0.32 * len(scores) + 0.6
    (event,) = find_events(column(*scores), score - 1e-6, duration)
    assert event.score == pytest.approx(score)
    assert find_events(column(*scores), score + 1e-6, duration) == []


def test_hysteresis_and_outermost_tiles():
    scores = column(0.022, 0.03, 0.3, 0.6, 0.6, 0.12, 0.7, 0.3, 0.03, 0.022, 0.3, 0.35, 0.3, 0.0)
    (event,) = find_events(scores, 0.5, 5.0)  # the second run only reaches 0.35
    assert event == DetectedEvent(0.96, 2.88, 0, pytest.approx((0.6 + 0.6 + 0.7) / 3))
    assert find_events(scores, 0.4, 5.0) == [
        DetectedEvent(0.0, 4.16, 0, pytest.approx(1.9 / 3))
    ]  # the first tile is kept at the start of the recording


@pytest.mark.parametrize(
    ("scores", "onset", "offset"),
    [
        ((0, 0, 0.4, 0.8, 0.4, 0, 0), 1.28, 1.6),  # a click, which is in three segments
        ((0, 0, 0, 0.8, 0, 0, 0), 1.28, 1.6),
        ((0, 0, 0, 0.8, 0.4, 0, 0), 1.28, 1.6),
        ((0, 0, 0.4, 0.8, 0, 0, 0), 1.28, 1.6),
        ((0, 0, 0.8, 0.4, 0.4, 0, 0), 0.96, 1.6),
        ((0, 0, 0.8, 0.8, 0.8, 0, 0), 0.96, 1.6),  # of equal scores, the first is the peak
        ((0.4, 0.8, 0, 0, 0, 0, 0), 0.0, 0.96),
        ((0, 0, 0, 0, 0, 0.4, 0.8), 2.24, 2.6),
        ((0, 0, 0, 0, 0, 0.8, 0.4), 1.92, 2.6),
    ],
)
def test_event_keeps_its_peak_even_if_it_is_outermost(scores, onset, offset):
    (event,) = find_events(column(*scores), 0.25, 2.6)
    assert (event.onset, event.offset) == (pytest.approx(onset), pytest.approx(offset))


@pytest.mark.parametrize("cuts", [[], [3], [4], [2, 3, 4, 5]])
@pytest.mark.parametrize(
    ("scores", "onset", "offset"),
    [
        ((0, 0, 0.2, 0.8, 0.2, 0, 0), 1.28 + 0.03, 1.6 + 0.14),  # tile 3, which ends where tile 4 begins
        ((0, 0, 0.8, 0.2, 0.2, 0, 0), 0.96 + 0.02, 1.6 + 0.14),
        ((0, 0, 0.2, 0.3, 0.8, 0, 0), 1.28 + 0.03, 1.92 + 0.15),
        ((0.8, 0.2, 0.2, 0, 0, 0, 0), 0.2, 0.96 + 0.12),
        ((0, 0, 0, 0, 0.2, 0.8, 0.8), 1.92 + 0.05, 2.6 - 0.3),
    ],
)
def test_onset_and_offset_move_to_level_changes(scores, onset, offset, cuts):
    edges = np.array([[20, 0], *([tile, tile + 10] for tile in range(1, 7)), [0, -30]])  # frames
    (event,) = find_events(column(*scores), 0.4, 2.6, cuts, edges)
    assert (event.onset, event.offset) == (pytest.approx(onset), pytest.approx(offset))


@pytest.mark.parametrize("tile", range(3, 40))
def test_level_changes_that_leave_less_than_100_ms_are_ignored(tile):
    scores, edges = np.zeros((43, 1), np.float32), np.zeros((44, 2), np.int64)
    scores[tile - 1 : tile + 2, 0] = 0.2, 0.8, 0.2
    start = 0.32 * tile + 0.32
    edges[tile, 0], edges[tile + 1, 1] = 10, -12  # 0.1 s remain
    (event,) = find_events(scores, 0.4, 14.2, edges=edges)
    assert (event.onset, event.offset) == (pytest.approx(start + 0.1), pytest.approx(start + 0.2))
    edges[tile, 0] = 11
    (event,) = find_events(scores, 0.4, 14.2, edges=edges)
    assert (event.onset, event.offset) == (pytest.approx(start), pytest.approx(start + 0.32))


def test_events_that_touch_after_moving_are_one():
    scores, edges = column(0, 0, 0, 0.8, 0, 0.9, 0, 0), np.zeros((9, 2), np.int64)
    edges[4, 1], edges[5, 0] = 32, -30
    (event,) = detect(scores, edges, 2.9, ColumnSettings.uniform([0.25]))
    assert event == DetectedEvent(1.28, 2.24, 0, pytest.approx(0.3))


def test_recording_shorter_than_a_segment():
    assert find_events(column(0.8), 0.5, 0.2) == [DetectedEvent(0.0, 0.2, 0, pytest.approx(0.8))]
    assert find_events(column(0.4), 0.5, 0.2) == []


def test_thresholds_per_class():
    scores = np.full((14, 3), 0.5, np.float32)
    assert [event.column for event in find_events(scores, [0.4, 0.6, 0.5], 5.0)] == [0, 2]


def test_events_are_returned_with_the_segment_that_ends_them():
    detector = HysteresisDetector(ColumnSettings.uniform([0.5], leave=0.05, hold=math.inf))
    assert detector.add(column(0.01, 0.9, 0.9), np.zeros((3, 2), np.int64)) == []
    assert detector.add(column(0.01, 0.6), np.zeros((2, 2), np.int64)) == [
        DetectedEvent(0.64, 0.96, 0, pytest.approx(0.6))
    ]
    assert detector.finish(2.3, 0) == [DetectedEvent(1.6, 2.3, 0, pytest.approx(0.6))]


@pytest.mark.parametrize(
    ("hold", "tiles"),
    [
        (math.inf, [(3, 18)]),
        (3 * 0.32, [(3, 16)]),  # six tiles lie between the two that reach the threshold
        (2 * 0.32, [(4, 8), (11, 15)]),  # of equal tiles at the end, the last is removed
        (0.32, [(6, 7), (13, 14)]),
        (0.0, [(6, 7), (13, 14)]),
    ],
)
def test_an_event_goes_on_for_a_limited_time_without_scores_that_reach_the_threshold(hold, tiles):
    scores = np.full(21, 0.1)
    scores[3:18:14], scores[[6, 13]] = 0.2, 1.0
    scores[[2, 18]] = 0
    found = find_events(column(*scores), 0.33, 7.2, hold=hold)
    assert [(event.onset, event.offset) for event in found] == [
        pytest.approx((0.32 * first + 0.32, 0.32 * stop + 0.32)) for first, stop in tiles
    ]


@settings(max_examples=80, deadline=None)
@given(
    samples=st.integers(1, 30 * SAMPLE_RATE),
    threshold=st.floats(0, 1),
    leave=st.sampled_from([0.05, 0.3, 1.0]),
    hold=st.sampled_from([0.0, 0.32, 0.96, math.inf]),
    cuts=st.lists(st.integers(0, 100), max_size=40),
)
def test_events_equal_the_reference_for_any_chunks(samples, threshold, leave, hold, cuts):
    segments = segment_count(samples)
    duration = samples / SAMPLE_RATE
    scores = np.random.default_rng(samples).random((segments, 2), np.float32) ** 6  # most of them low
    native = Grid("native", 2)
    edges = np.concatenate([native.add(scores).edges[:-1], native.finish(duration).edges])
    middles = (edges[:-1] + edges[1:]) / 2
    events = []
    for event in find_events(scores, threshold, duration, cuts, hold=hold, leave=leave):
        inside = np.flatnonzero((event.onset < middles) & (middles < event.offset))
        events.append((event.column, inside.tolist(), pytest.approx(event.score)))
    assert events == list(reference_events(scores, threshold, leave, hold))


def reference_events(scores: np.ndarray, threshold: float, leave: float, hold: float):
    """The rules of docs/timeline.md, group by group: class, tiles and score of each event."""
    last = len(scores) - 1
    for column, values in enumerate(scores.T):
        in_run = values >= leave * threshold
        lit = np.flatnonzero(values >= threshold)
        in_group = [
            in_run[tile]
            and any(
                abs(tile - near) <= hold / 0.32 + 1e-6 and in_run[slice(*sorted((tile, near)))].all() for near in lit
            )
            for tile in range(last + 1)
        ]
        tiles_in_groups = np.flatnonzero(in_group)
        for tiles in np.split(tiles_in_groups, np.flatnonzero(np.diff(tiles_in_groups) > 1) + 1):
            if not len(tiles):
                continue
            times = [3 if tile in (0, last) else 1 for tile in tiles]
            score = sum(sorted(np.repeat(values[tiles].astype(float), times).tolist())[-3:]) / 3
            if score < threshold:
                continue
            first, *_, final = [*tiles.tolist()] * 2 if len(tiles) == 1 else tiles.tolist()
            kept = tiles.tolist()
            if first not in (0, final) and values[first] < values[first + 1]:
                kept.remove(first)
            if final not in (first, last) and values[final] <= values[final - 1]:
                kept.remove(final)
            yield column, kept, score
