"""From segment scores to the tags of a recording, in whatever chunks the scores come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.contract import Label
from sedkit.timeline.views import TagsView


def means(scores: np.ndarray, span: int, cuts: list[int] = []) -> np.ndarray:  # noqa: B006
    columns = range(scores.shape[1])
    view = TagsView([Label(str(column)) for column in columns], columns, None, span, None, 0.0)
    for chunk in np.split(scores.astype(np.float32), sorted(cut % (len(scores) + 1) for cut in cuts)):
        view.add(chunk)
    return view.means()


def by_the_book(scores: np.ndarray, span: int) -> np.ndarray:
    """docs/timeline.md: the highest mean of `span` neighbours, silent ones left out."""
    heard = scores[scores.any(axis=1)]
    if not len(heard):
        return np.zeros(scores.shape[1])
    spans = [heard[start : start + span] for start in range(max(1, len(heard) - span + 1))]
    return np.max([part.mean(axis=0) for part in spans], axis=0)


@settings(max_examples=100, deadline=None)
@given(
    segments=st.integers(1, 90),
    span=st.integers(1, 40),
    quiet=st.floats(0, 1),
    cuts=st.lists(st.integers(0, 100), max_size=20),
)
def test_a_class_scores_its_highest_mean_in_whatever_chunks_scores_come(segments, span, quiet, cuts):
    random = np.random.default_rng(segments)
    scores = random.random((segments, 3)).astype(np.float32) * (random.random((segments, 1)) > quiet)
    np.testing.assert_allclose(means(scores, span, cuts), by_the_book(scores.astype(np.float64), span), atol=1e-12)
    np.testing.assert_array_equal(means(scores, span, cuts), means(scores, span))


def test_a_sound_scores_alike_in_seconds_and_in_an_hour():
    heard = np.full((14, 1), 0.8, np.float32)
    hour = np.full((11_250, 1), 0.01, np.float32)
    assert means(heard, 14) == pytest.approx(0.8)
    assert means(np.concatenate([hour, heard, hour]), 14, [3000, 11_255]) == pytest.approx(0.8)


def test_no_more_than_a_span_is_held():
    view = TagsView([Label("Dog")], [0], None, 14, None, 0.0)
    for _ in range(100):
        view.add(np.full((63, 1), 0.5, np.float32))
        view.add(np.zeros((63, 1), np.float32))
        assert len(view.rows) == 13
        assert view.rows.base is None
    assert view.finish("dog.wav", 1.0).tags[0].score == 0.5


def test_segments_count_by_their_weights():
    scores = np.array([[0.2, 0.9], [0.8, 0.5], [0.0, 0.0], [0.6, 0.1]], np.float32)
    weights = np.array([[1, 3], [3, 1], [0, 0], [0.5, 0.25]], np.float32)
    view = TagsView([Label("Dog"), Label("Cat")], [0, 1], [2, 3], 30, None, 0.0)
    view.add(np.hstack([scores, weights]))
    assert view.means() == pytest.approx([(0.2 + 2.4 + 0.3) / 4.5, (2.7 + 0.5 + 0.025) / 4.25])
    pairs = TagsView([Label("Cat")], [1], [3], 2, None, 0.0)
    pairs.add(np.hstack([scores, weights]))
    assert pairs.means() == pytest.approx([3.2 / 4])
