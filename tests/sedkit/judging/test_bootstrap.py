"""Bootstrap over sources: resampling weights, and metrics of weighted clips."""

from __future__ import annotations

import numpy as np
import pytest

from sedkit.judging.bootstrap import accuracy, mean_ap, resampling_weights
from sedkit.metrics import summary


def test_weighted_metrics_equal_those_of_repeated_clips() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((60, 5)) < 0.3).astype(np.float32)
    scores = random.integers(0, 8, (60, 5)).astype(np.float32) / 8  # with many ties
    once = np.ones((1, 60))
    plain = summary(targets, scores, [str(label) for label in range(5)])
    assert accuracy(targets, scores, once) == pytest.approx(plain.accuracy)
    assert mean_ap(targets, scores, once) == pytest.approx(plain.mean_ap)
    counts = random.integers(0, 3, 60)
    repeated = summary(np.repeat(targets, counts, 0), np.repeat(scores, counts, 0), [str(label) for label in range(5)])
    assert accuracy(targets, scores, counts[None].astype(float)) == pytest.approx(repeated.accuracy)
    assert mean_ap(targets, scores, counts[None].astype(float)) == pytest.approx(repeated.mean_ap)


def test_resampling_draws_all_clips_of_a_source_together() -> None:
    weights = resampling_weights(["a", "b", "a", "c", "b"], 500)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert weights.mean(0) == pytest.approx(np.ones(5), abs=0.15)
