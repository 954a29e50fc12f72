"""TagsView: clip scores from segment scores, independent of how the scores are chunked."""

from __future__ import annotations

import pickle

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
        view.add_scores(chunk)
    return view.means()


def reference_means(scores: np.ndarray, span: int) -> np.ndarray:
    """The rule of docs/timeline.md: maximum over a sliding window of `span` segments, silent ones left out."""
    sounding = scores[scores.any(axis=1)]
    if not len(sounding):
        return np.zeros(scores.shape[1])
    windows = [sounding[start : start + span] for start in range(max(1, len(sounding) - span + 1))]
    return np.max([window.mean(axis=0) for window in windows], axis=0)


@settings(max_examples=100, deadline=None)
@given(
    segments=st.integers(1, 90),
    span=st.integers(1, 40),
    quiet=st.floats(0, 1),
    cuts=st.lists(st.integers(0, 100), max_size=20),
)
def test_score_is_the_maximum_over_a_sliding_window(segments, span, quiet, cuts):
    random = np.random.default_rng(segments)
    scores = random.random((segments, 3)).astype(np.float32) * (random.random((segments, 1)) > quiet)
    np.testing.assert_allclose(means(scores, span, cuts), reference_means(scores.astype(np.float64), span), atol=1e-12)
    np.testing.assert_array_equal(means(scores, span, cuts), means(scores, span))


def test_score_does_not_depend_on_the_length_of_the_recording():
    sound = np.full((14, 1), 0.8, np.float32)
    hour = np.full((11_250, 1), 0.01, np.float32)
    assert means(sound, 14) == pytest.approx(0.8)
    assert means(np.concatenate([hour, sound, hour]), 14, [3000, 11_255]) == pytest.approx(0.8)


def test_view_keeps_less_than_a_window():
    view = TagsView([Label("Dog")], [0], None, 14, None, 0.0)
    sizes = []
    for _ in range(100):
        view.add_scores(np.full((63, 1), 0.5, np.float32))
        view.add_scores(np.zeros((63, 1), np.float32))
        sizes.append(len(pickle.dumps(view)))
    assert sizes[-1] == sizes[0] < 2000
    assert view.finish("dog.wav", 1.0).tags[0].score == 0.5


def test_weighted_segments():
    scores = np.array([[0.2, 0.9], [0.8, 0.5], [0.0, 0.0], [0.6, 0.1]], np.float32)
    weights = np.array([[1, 3], [3, 1], [0, 0], [0.5, 0.25]], np.float32)
    view = TagsView([Label("Dog"), Label("Cat")], [0, 1], [2, 3], 30, None, 0.0)
    view.add_scores(np.hstack([scores, weights]))
    assert view.means() == pytest.approx([(0.2 + 2.4 + 0.3) / 4.5, (2.7 + 0.5 + 0.025) / 4.25])
    pairs = TagsView([Label("Cat")], [1], [3], 2, None, 0.0)
    pairs.add_scores(np.hstack([scores, weights]))
    assert pairs.means() == pytest.approx([3.2 / 4])
