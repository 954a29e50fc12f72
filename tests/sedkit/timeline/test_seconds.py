"""The cells of a timeline in arrays are those of a tuple."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.results import Second, Tag
from sedkit.timeline.seconds import Seconds

CLASSES = (("Wind", None), ("Cat", "/m/01yrx"), ("Dog", "/m/0bt9lr"))
times = st.floats(0, 1e6)
tags = st.builds(lambda of, score: Tag(*of, score), st.sampled_from(CLASSES), st.floats(0, 1))
cells = st.lists(st.builds(Second, times, times, st.lists(tags, max_size=3).map(tuple)), max_size=6).map(tuple)


@settings(max_examples=50, deadline=None)
@given(cells, st.integers(-7, 7), st.integers(-7, 7))
def test_it_is_a_sequence_of_its_cells(given: tuple[Second, ...], start: int, stop: int):
    seconds = Seconds.of(given)
    assert tuple(seconds) == given
    assert seconds == given
    assert given == seconds
    assert (len(seconds), hash(seconds), repr(seconds)) == (len(given), hash(given), repr(given))
    assert seconds[start:stop] == given[start:stop]
    assert pickle.loads(pickle.dumps(seconds)) == seconds
    if given:
        assert seconds[-1] == given[-1]
        assert seconds != given[1:]
    with pytest.raises(IndexError):
        seconds[len(given)]


@pytest.mark.parametrize("cuts", [[], [4], [0, 3, 3, 7]])
def test_joined_cells(cuts: list[int]):
    scores = np.random.default_rng(0).random((7, 3)).astype(np.float32)
    edges, present = np.arange(8.0), scores > 0.5
    bounds = [0, *cuts, 7]
    parts = [
        Seconds.present(edges[start : stop + 1], scores[start:stop], present[start:stop], CLASSES)
        for start, stop in itertools.pairwise(bounds)
    ]
    assert Seconds.joined(parts) == Seconds.present(edges, scores, present, CLASSES)


def test_tags_are_sorted_by_score_then_by_name():
    scores = np.array([[0.5, 0.5, 0.9], [0.9, 0.2, 0.1], [0.1, 0.7, 0.8]], np.float32)
    seconds = Seconds.present(np.array([0, 1, 2, 2.5]), scores, scores >= 0.5, CLASSES)
    assert [(cell.start, cell.end) for cell in seconds] == [(0, 1), (1, 2), (2, 2.5)]
    assert [[tag.label for tag in cell.tags] for cell in seconds] == [["Dog", "Cat", "Wind"], ["Wind"], ["Dog", "Cat"]]
    assert seconds[2].tags == (
        Tag("Dog", "/m/0bt9lr", float(scores[2, 2])),
        Tag("Cat", "/m/01yrx", float(scores[2, 1])),
    )


def test_no_cells():
    none = Seconds.present(np.zeros(1), np.zeros((0, 3), np.float32), np.zeros((0, 3), bool), CLASSES)
    assert none == ()
    assert Seconds.joined([none, none]) == ()
