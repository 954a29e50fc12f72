"""Post-processing: invariants of events for random scores and settings; filters, shaping and event boxes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.contract import Label
from sedkit.geometry import WELS_NET
from sedkit.timeline.boxes import boxes
from sedkit.timeline.detection import EventDetector, detect
from sedkit.timeline.events import DetectedEvent
from sedkit.timeline.filters import ScoreFilter
from sedkit.timeline.grid import Grid
from sedkit.timeline.settings import ColumnSettings, PostProcessing
from sedkit.timeline.shaping import EventShaper
from sedkit.timeline.timelines import TimelineView

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "leave": st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        "hold": st.sampled_from([0.0, 0.64, 2.88, math.inf]),
        "median": st.sampled_from([0.0, 0.96, 1.6]),
        "min_duration": st.sampled_from([0.0, 0.5, 1.0]),
        "merge_gap": st.sampled_from([0.0, 0.5, 2.0]),
        "max_duration": st.sampled_from([2.0, 3.7, math.inf]),
        "max_classes": st.sampled_from([1, 2]),
        "method": st.sampled_from(["hysteresis", "change-points"]),
    },
)


def random_recording(seed: int, segments: int, levels: int = 20) -> tuple[np.ndarray, np.ndarray, float]:
    """Scores [segments, 3] that stay high or low for some time, level changes [segments + 1, 2], and the duration."""
    random = np.random.default_rng(seed)
    raw = np.cumsum(random.standard_normal((segments, 3)), axis=0) + random.standard_normal((segments, 3))
    scores = 1 / (1 + np.exp(-raw + raw.mean(axis=0)))
    changes = np.sort(random.integers(-levels, levels + 1, (segments + 1, 2)), axis=0) if levels else np.zeros((1, 2))
    changes = np.broadcast_to(changes, (segments + 1, 2)).astype(np.int64).copy()
    changes[0, 0], changes[-1, 1] = max(0, changes[0, 0]), min(0, changes[-1, 1])
    return np.round(scores, 2).astype(np.float32), changes, round(0.32 * segments + 0.5, 6)


def time_of(events: list[DetectedEvent], column: int, moments: np.ndarray) -> np.ndarray:
    """Which moments lie in an event of a class."""
    return np.any(
        [(e.onset <= moments) & (moments < e.offset) for e in events if e.column == column] or [False], axis=0
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), SETTINGS, st.floats(0.05, 0.95))
def test_events_are_sorted_disjoint_inside_and_as_long_as_asked(seed, segments, values, threshold):
    scores, changes, duration = random_recording(seed, segments)
    events = detect(scores, changes, duration, ColumnSettings.uniform([threshold] * 3, **values))
    assert [event.onset for event in events] == sorted(event.onset for event in events)
    for column in range(3):
        own = [event for event in events if event.column == column]
        assert all(before.offset <= after.onset for before, after in itertools.pairwise(own))
    for event in events:
        assert 0 <= event.onset < event.offset <= duration + 1e-6
        assert values.get("min_duration", 0) <= event.offset - event.onset + 2e-6
        assert event.offset - event.onset <= values.get("max_duration", math.inf) + 2e-6
        assert event.score >= threshold - 1e-6


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), SETTINGS, st.floats(0.05, 0.9), st.floats(1.01, 3))
def test_a_higher_threshold_never_adds_event_time(seed, segments, values, threshold, factor):
    scores, changes, duration = random_recording(seed, segments, levels=0)
    lower, higher = (
        detect(scores, changes, duration, ColumnSettings.uniform([limit] * 3, **values))
        for limit in (threshold, min(1.0, threshold * factor))
    )
    moments = np.arange(0.005, duration, 0.01)
    for column in range(3):
        assert not (time_of(higher, column, moments) & ~time_of(lower, column, moments)).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), SETTINGS, st.lists(st.integers(0, 60), max_size=20))
def test_events_and_filtered_scores_do_not_depend_on_chunks(seed, segments, values, cuts):
    scores, changes, duration = random_recording(seed, segments)
    chosen = ColumnSettings.uniform([0.3, 0.5, 0.7], **values)
    detector, made, filtered = EventDetector(chosen), [], []
    for start, stop in itertools.pairwise([0, *sorted(min(cut, segments) for cut in cuts), segments]):
        parts = detector.add(scores[start:stop], changes[start:stop])
        made += parts.events
        filtered.append(parts.scores)
    rest = detector.finish(duration, int(changes[-1, 1]))
    made += rest.events
    assert sorted(made, key=lambda e: (e.onset, e.column)) == detect(scores, changes, duration, chosen)
    expected = ScoreFilter(chosen)
    whole = [expected.add(scores, changes[:-1]).scores, expected.finish().scores]
    np.testing.assert_array_equal(np.concatenate([*filtered, rest.scores]), np.concatenate(whole))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.floats(0.2, 0.8), st.sampled_from([0.0, 0.96, 2.88]))
def test_grid_and_events_agree(seed, segments, threshold, hold):
    """The invariant of docs/timeline.md: events have cells that show them, and end soon after these."""
    scores, changes, duration = random_recording(seed, segments)
    events = detect(scores, changes, duration, ColumnSettings.uniform([threshold] * 3, hold=hold))
    grid = Grid("native", 3)
    cells = [grid.add(scores), grid.finish(duration)]
    edges = np.concatenate([cells[0].edges[:-1], cells[1].edges])
    shown = np.concatenate([cell.scores for cell in cells]) >= threshold
    reach = hold + 0.32 + 1e-6  # a level change is at most 0.32 s away
    for event in events:
        onsets, offsets = edges[:-1][shown[:, event.column]], edges[1:][shown[:, event.column]]
        near = (onsets - reach < event.offset) & (offsets + reach > event.onset)
        assert near.any()
        moments = np.linspace(event.onset, event.offset, 50)[:, None]
        assert ((onsets - reach <= moments) & (moments <= offsets + reach)).any(axis=1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.sampled_from([0.32, 0.5, 1.0]), st.integers(2, 8))
def test_a_finer_grid_never_contradicts_a_coarser_one(seed, segments, resolution, factor):
    """A coarse cell shows a class if and only if a finer one inside it does; that may take its segment from beside."""
    scores, _, duration = random_recording(seed, segments)
    fine, coarse = (
        np.concatenate([part.scores for part in (grid.add(scores), grid.finish(duration))])
        for grid in (Grid(resolution, 3), Grid(resolution * factor, 3))
    )
    for number, row in enumerate(coarse):
        inside = fine[number * factor : (number + 1) * factor]
        assert (inside.max(axis=0) >= row - 1e-7).all()


def test_median_filter_smooths_and_keeps_the_ends():
    scores = np.array([0.9, 0.1, 0.9, 0.9, 0.1, 0.1, 0.8], np.float32)[:, None]
    chosen = ColumnSettings.uniform([0.5], median=0.96)
    filtered = ScoreFilter(chosen)
    parts = [filtered.add(scores, np.zeros((7, 2), np.int64)).scores, filtered.finish().scores]
    assert np.concatenate(parts)[:, 0] == pytest.approx([0.5, 0.9, 0.9, 0.9, 0.1, 0.1, 0.45])
    assert [len(part) for part in parts] == [6, 1]


def test_only_the_highest_classes_of_a_segment_remain():
    chosen = ColumnSettings.uniform([0.5] * 3, max_classes=1)
    scores = np.array([[0.5, 0.7, 0.7], [0.9, 0.1, 0.2]], np.float32)
    filtered = ScoreFilter(chosen).add(scores, np.zeros((2, 2), np.int64)).scores
    np.testing.assert_array_equal(filtered, np.array([[0, 0.7, 0], [0.9, 0, 0]], np.float32))


@pytest.mark.parametrize("method", ["hysteresis", "change-points"])
@pytest.mark.parametrize("resolution", ["native", 1.0])
def test_at_a_threshold_of_0_a_class_that_is_cut_is_in_no_event_or_cell(method, resolution):
    first = np.arange(12) < 6
    scores = np.stack([np.where(first, 0.9, 0.1), np.where(first, 0.1, 0.9), np.zeros(12)], axis=1).astype(np.float32)
    labels = [Label("Bark"), Label("Rain"), Label("Wind")]
    chosen = PostProcessing(max_classes=1, method=method).columns(labels, [0.0] * 3)
    samples = np.zeros(WELS_NET.padded_samples(0) + 11 * WELS_NET.segment_hop, np.float32)
    view = TimelineView(labels, range(3), chosen, resolution, scores=True)
    for start, stop in ((0, 5), (5, 12)):
        view.add(samples[start * WELS_NET.segment_hop :], slice(0, stop - start), scores[start:stop])
    timeline = view.finish("x", len(samples) / WELS_NET.sample_rate)
    assert [event.label for event in timeline.events] == ["Bark", "Rain"]
    assert timeline.events[0].offset <= timeline.events[1].onset + WELS_NET.step
    assert all(tag.score > 0.5 for cell in timeline.seconds for tag in cell.tags)
    assert timeline.scores.min() == 0


def test_events_are_merged_then_left_out_then_divided():
    chosen = ColumnSettings.uniform([0.5, 0.5], merge_gap=0.5, min_duration=1.0, max_duration=2.0)
    events = [
        DetectedEvent(0.0, 0.6, 0, 0.7),
        DetectedEvent(1.0, 1.3, 0, 0.9),
        DetectedEvent(2.0, 2.9, 0, 0.6),  # too short
        DetectedEvent(0.0, 5.0, 1, 0.8),
    ]
    assert EventShaper(chosen).finish(events) == [
        DetectedEvent(0.0, 1.3, 0, 0.9),
        DetectedEvent(0.0, 1.666667, 1, 0.8),
        DetectedEvent(1.666667, 3.333333, 1, 0.8),
        DetectedEvent(3.333333, 5.0, 1, 0.8),
    ]


def test_boxes_lie_between_changes_whatever_the_level():
    for level in (0.2, 0.9):
        scores = np.zeros(40)
        scores[10:20], scores[25:28] = level, level / 2
        assert boxes(scores, 2, 0.0, 1.0) == [(10, 20, pytest.approx(level)), (25, 28, pytest.approx(level / 2))]


@pytest.mark.parametrize(("drop", "share", "count"), [(0.0, 1.0, 2), (0.31, 1.0, 1), (0.0, 0.6, 1)])
def test_boxes_with_a_shallow_gap_are_one(drop, share, count):
    scores = np.zeros(40)
    scores[10:30] = 0.8
    scores[18:22] = 0.5
    assert len(boxes(scores, 2, drop, share)) == count


def test_event_boxes_are_accepted_by_their_mean():
    scores = np.zeros((40, 1), np.float32)
    scores[10:20] = 0.6
    for threshold, expected in ((0.59, [(3.52, 6.72)]), (0.61, [])):
        chosen = ColumnSettings.uniform([threshold], method="change-points")
        found = detect(scores, np.zeros((41, 2), np.int64), 13.3, chosen)
        assert [(event.onset, event.offset) for event in found] == [pytest.approx(pair) for pair in expected]


def test_settings_by_class():
    chosen = PostProcessing(leave=0.2).for_class("dog", hold=1.0).for_class("/m/01yrx", threshold=0.9)
    labels = Label("Dog", "/m/0bt9lr"), Label("Cat", "/m/01yrx"), Label("Kettle")
    columns = chosen.columns(labels, [0.3, 0.4, 0.5])
    assert columns.threshold.tolist() == [0.3, 0.9, 0.5]
    assert columns.hold.tolist() == [1.0, 2.88, 2.88]
    assert columns.leave.tolist() == [0.2] * 3


def test_the_last_value_of_a_class_counts_whatever_its_spelling():
    file = PostProcessing().for_class("Dog", threshold=0.9, hold=1.0)
    for name in ("Dog", "dog", "/m/0bt9lr"):
        columns = file.with_thresholds({name: 0.2}).columns([Label("Dog", "/m/0bt9lr")], [0.5])
        assert (columns.threshold.tolist(), columns.hold.tolist()) == ([0.2], [1.0])
    again = file.for_class("/m/0bt9lr", threshold=0.3).for_class("Dog", threshold=0.4)
    assert again.columns([Label("Dog", "/m/0bt9lr")], [0.5]).threshold.tolist() == [0.4]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 80), st.sampled_from([0.0, 0.1, 0.3]), st.sampled_from([0.4, 0.8, 1.0]))
def test_boxes_equal_the_reference(seed, segments, drop, share):
    scores = random_recording(seed, segments)[0][:, 0].astype(np.float64)
    found = [box[:2] for box in boxes(scores, 2, -1.0, 2.0)]  # nothing merged
    while True:
        gaps = []
        for number, ((begin, end), (start, stop)) in enumerate(itertools.pairwise(found)):
            higher = max(scores[begin:end].mean(), scores[start:stop].mean())
            gap = scores[end:start].mean() if start > end else higher
            if higher - gap <= drop or gap >= share * higher:
                gaps.append((round(higher - gap, 9), number))
        if not gaps:
            break
        _, number = min(gaps)
        found[number : number + 2] = [(found[number][0], found[number + 1][1])]
    assert [box[:2] for box in boxes(scores, 2, drop, share)] == found
