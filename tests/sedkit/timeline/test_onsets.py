"""Onsets that are told before their events end: each is that of the next event of its class, and early."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.contract import Label
from sedkit.results import Event, Onset, Second
from sedkit.timeline.detection import EventDetector, detect
from sedkit.timeline.settings import ColumnSettings
from sedkit.timeline.timelines import LiveTimeline
from tests.sedkit.timeline.test_postprocessing import random_recording

SHAPING = st.fixed_dictionaries(
    {
        "leave": st.sampled_from([0.05, 0.5, 1.0]),
        "hold": st.sampled_from([0.0, 0.96, 2.88]),
        "median": st.sampled_from([0.0, 0.96]),
        "min_duration": st.sampled_from([0.0, 0.5, 2.0]),
        "merge_gap": st.sampled_from([0.0, 1.0, 5.0]),
    }
)


def told(scores: np.ndarray, changes: np.ndarray, duration: float, chosen: ColumnSettings, cuts: list[int]) -> tuple:
    """Onsets and events, each with the number of segments that had been added."""
    detector, onsets, events = EventDetector(chosen, onsets=True), [], []
    for start, stop in itertools.pairwise([0, *sorted(min(cut, len(scores)) for cut in cuts), len(scores)]):
        found = detector.add(scores[start:stop], changes[start:stop])
        onsets += [(each, stop) for each in found.onsets]
        events += [(each, stop) for each in found.events]
    rest = detector.finish(duration, int(changes[-1, 1]))
    onsets += [(each, len(scores) + 1) for each in rest.onsets]
    return onsets, events + [(each, len(scores) + 1) for each in rest.events]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), SHAPING, st.lists(st.integers(0, 60), max_size=30))
def test_each_onset_is_that_of_exactly_one_later_event(seed, segments, values, cuts):
    scores, changes, duration = random_recording(seed, segments, levels=32)
    chosen = ColumnSettings.uniform([0.3, 0.5, 0.7], **values)
    onsets, events = told(scores, changes, duration, chosen, cuts)
    when = {(event.column, event.onset): at for event, at in events}
    assert len(when) == len(events)
    keys = [(each.column, each.onset) for each, _ in onsets]
    assert len(set(keys)) == len(keys)
    for each, at in onsets:
        assert at <= when[each.column, each.onset]
    whole = told(scores, changes, duration, chosen, [])[0]
    assert {(each.column, each.onset) for each, _ in whole} == set(keys)  # they do not depend on chunks
    assert sorted((event for event, _ in events), key=lambda event: (event.onset, event.column)) == detect(
        scores, changes, duration, chosen
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), SHAPING, st.floats(1, 10))
def test_of_a_divided_event_the_first_part_has_the_onset(seed, segments, values, longest):
    scores, changes, duration = random_recording(seed, segments, levels=32)
    chosen = ColumnSettings.uniform([0.3, 0.5, 0.7], **values | {"max_duration": max(longest, 4.0)})
    onsets, events = told(scores, changes, duration, chosen, list(range(60)))
    keys = [(event.column, event.onset) for event, _ in events]
    assert all(keys.count((each.column, each.onset)) == 1 for each, _ in onsets)


def test_onset_of_a_long_sound_is_told_while_it_lasts():
    """Three segments decide; the last of them is complete 1.92 s after the onset. The event comes 12 s later."""
    scores = np.zeros((60, 1), np.float32)
    scores[10:50] = 0.8
    onsets, events = told(scores, np.zeros((61, 2), np.int64), 20.0, ColumnSettings.uniform([0.5]), list(range(60)))
    ((onset, at),), ((event, end),) = onsets, events
    assert (onset.onset, onset.score) == (event.onset, pytest.approx(0.8))
    assert (at, end) == (13, 51)
    shortest = ColumnSettings.uniform([0.5], min_duration=5.0)
    (((onset, at),), _) = told(scores, np.zeros((61, 2), np.int64), 20.0, shortest, list(range(60)))
    assert onset.until - onset.onset >= 5.0
    assert at == 10 + 18


def test_what_would_be_left_out_is_not_told():
    scores = np.zeros((60, 1), np.float32)
    scores[10:14] = 0.8
    chosen = ColumnSettings.uniform([0.5], min_duration=3.0)
    assert told(scores, np.zeros((61, 2), np.int64), 20.0, chosen, list(range(60))) == ([], [])


def test_a_short_sound_that_waits_for_a_merge_is_told():
    scores = np.zeros((60, 1), np.float32)
    scores[10:12] = 0.9
    changes = np.zeros((61, 2), np.int64)
    assert told(scores, changes, 20.0, ColumnSettings.uniform([0.5]), list(range(60)))[0] == []
    onsets, events = told(scores, changes, 20.0, ColumnSettings.uniform([0.5], merge_gap=5.0), list(range(60)))
    assert [at for _, at in onsets] == [13]
    assert [(event.onset, at) for event, at in events] == [(onsets[0][0].onset, 28)]


def test_live_timeline_sorts_onsets_between_cells_and_events():
    scores = np.zeros((60, 1), np.float32)
    scores[10:50] = 0.8
    live = LiveTimeline([Label("Rain")], [0], ColumnSettings.uniform([0.5]), 1.0, onsets=True)
    samples = np.zeros(62 * 5120, np.float32)
    items = live.add(samples, slice(0, 60), scores).by_end() + live.finish(62 * 0.32).by_end()
    kinds = [type(item) for item in items]
    assert [kind for kind in kinds if kind is not Second] == [Onset, Event]
    onset, event = items[kinds.index(Onset)], items[kinds.index(Event)]
    assert onset.to_dict() == {"onset": round(event.onset, 3), "label": "Rain", "mid": None, "score": 0.8}
    assert max(item.end for item in items[: kinds.index(Onset)]) <= onset.onset
