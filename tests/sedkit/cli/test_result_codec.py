"""Results survive the journal exactly."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.cli.result_codec import pack, unpack
from sedkit.contract import Label
from sedkit.results import Event, Overview, Second, Tag, Tagging, Timeline

scores = st.floats(0, 1)
times = st.floats(0, 1e6)
names = st.text() | st.just("caf\udce9.wav")
tags = st.builds(Tag, names, st.none() | names, scores)
LABELS = (Label("Dog", "/m/0bt9lr", 74), Label("Our kettle"))


@settings(max_examples=30, deadline=None)
@given(names, times, st.lists(tags), st.none() | st.floats(1, 1e6))
def test_tagging_round_trips(file: str, duration: float, found: list[Tag], rate: float | None):
    result = Tagging(file, duration, tuple(found), rate, datetime(2024, 5, 1, 5, 30, tzinfo=UTC))
    back = unpack(pack(result))
    assert back == result
    assert (back.sample_rate, back.recorded_at) == (rate, result.recorded_at)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.builds(Event, times, times, names, st.none() | names, scores)), st.lists(tags))
def test_timeline_round_trips(events: list[Event], found: list[Tag]):
    result = Timeline("a.wav", 1.5, "native", (Second(0, 1.5, tuple(found)),), tuple(events), None, LABELS)
    assert unpack(pack(result), LABELS) == result


@pytest.mark.parametrize("columns", [0, 1, 527])
def test_arrays_of_a_timeline_round_trip(columns: int):
    rng = np.random.default_rng(0)
    cells = rng.random((3, columns), np.float32)
    special = {"seconds": 0.02, "classes": (1, 0)}
    overview = Overview(
        **{field.name: special.get(field.name, rng.integers(0, 256, (4, 5), np.uint8)) for field in fields(Overview)}
    )
    result = replace(Timeline("a.wav", 3.0, 1.0, (), (), cells, LABELS), overview=overview)
    back = unpack(pack(result), LABELS)
    assert isinstance(back, Timeline)
    assert back.overview is not None
    assert back.scores is not None
    np.testing.assert_array_equal(back.scores, cells)
    assert back.scores.dtype == np.float32
    for field in fields(Overview):
        np.testing.assert_array_equal(getattr(back.overview, field.name), getattr(overview, field.name))
    assert back.overview.classes == overview.classes
    assert back.labels == LABELS
