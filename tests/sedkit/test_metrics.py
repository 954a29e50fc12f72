"""sedkit.metrics: AP, AUC and d' against scikit-learn and SciPy, including ties and undefined values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as sklearn

from sedkit.contract import Label
from sedkit.metrics import average_precision, d_prime, roc_auc, summary

LABELS = [Label("a", "/m/a", 3), Label("b"), Label("c")]

# Few distinct scores: most cases have ties between positives and negatives.
clips = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.integers(0, 4).map(lambda n: n / 4), st.floats(-9, 9, width=32))),
    min_size=2,
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(clips)
def test_agrees_with_scikit_learn(pairs):
    targets, scores = map(np.array, zip(*pairs, strict=True))
    if not targets.any():
        assert math.isnan(average_precision(targets, scores))
    else:
        assert average_precision(targets, scores) == pytest.approx(sklearn.average_precision_score(targets, scores))
    if len(set(targets.tolist())) < 2:
        assert math.isnan(roc_auc(targets, scores))
    else:
        assert roc_auc(targets, scores) == pytest.approx(sklearn.roc_auc_score(targets, scores))


@settings(max_examples=50, deadline=None)
@given(clips, st.randoms(use_true_random=False))
def test_order_of_clips_does_not_matter(pairs, random):
    mixed = random.sample(pairs, len(pairs))
    for metric in (average_precision, roc_auc):
        first, second = (metric(*map(np.array, zip(*some, strict=True))) for some in (pairs, mixed))
        assert first == pytest.approx(second, nan_ok=True)


def test_known_values():
    assert average_precision([1, 0, 1, 0], [4, 3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert roc_auc([1, 0, 1, 0], [4, 3, 2, 1]) == 0.75
    assert average_precision([1, 0, 0, 0], [1, 1, 1, 1]) == 0.25
    assert roc_auc([1, 0, 0, 0], [1, 1, 1, 1]) == 0.5


@pytest.mark.parametrize("auc", [0.01, 0.5, 0.915, 0.999])
def test_d_prime_against_scipy(auc):
    assert d_prime(auc) == pytest.approx(math.sqrt(2) * norm.ppf(auc), abs=1e-12)


def test_d_prime_at_auc_0_and_1():
    assert (d_prime(0.0), d_prime(1.0)) == (-math.inf, math.inf)
    assert math.isnan(d_prime(math.nan))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        d_prime(1.1)


def test_summary_leaves_undefined_values_out_of_means():
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]])  # b: no positives, c: no negatives
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.1, 0.9], [0.3, 0.7, 0.2], [0.2, 0.1, 0.1]])
    result = summary(targets, scores, LABELS)
    assert result.positives.tolist() == [2, 0, 4]
    np.testing.assert_allclose(result.ap, [(1 + 2 / 3) / 2, np.nan, 1])
    np.testing.assert_allclose(result.auc, [0.75, np.nan, np.nan])
    assert result.mean_ap == pytest.approx((5 / 6 + 1) / 2)
    assert result.mean_auc == pytest.approx(0.75)
    assert result.mean_d_prime == pytest.approx(d_prime(0.75))
    assert result.without_positives == (LABELS[1],)


def test_mean_d_prime_is_d_prime_of_the_mean_auc():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (60, 3))
    result = summary(targets, rng.normal(size=(60, 3)) + targets * [0.5, 1, 2], LABELS)
    assert result.mean_d_prime == pytest.approx(d_prime(float(np.mean(result.auc))))
    assert result.mean_d_prime != pytest.approx(float(np.mean(result.d_prime)))


def test_accuracy_uses_single_label_clips_only():
    targets = [[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    scores = [[0.9, 0.1, 0.2], [0.8, 0.1, 0.9], [0.3, 0.7, 0.2], [0.2, 0.1, 0.1]]
    result = summary(targets, scores, LABELS)
    assert (result.accuracy, result.single_label_clips) == (0.5, 2)
    assert math.isnan(summary([[1, 1, 0]], [[1, 2, 3]], LABELS).accuracy)


def test_to_dict_has_no_nan():
    result = summary([[1, 0, 1], [0, 0, 1]], [[0.9, 0.5, 0.1], [0.1, 0.5, 0.1]], LABELS).to_dict()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["classes"][0] == {
        "label": "a",
        "mid": "/m/a",
        "positives": 1,
        "AP": 1.0,
        "AUC": 1.0,
        "d_prime": None,  # infinite
    }
    assert result["classes"][1]["AP"] is None
    assert result["without_positives"] == ["b"]
    assert (result["mAP"], result["clips"]) == (1.0, 2)


@pytest.mark.parametrize(
    ("targets", "scores", "message"),
    [
        ([1, 0], [1, 2, 3], "same shape"),
        ([], [], "at least one clip"),
        ([1, 0.5], [1, 2], "0 or 1"),
        ([1, 0], [1, math.nan], "finite"),
        ([[1, 0]], [[1, 2]], r"\[clips\]"),
    ],
)
def test_invalid_input(targets, scores, message):
    with pytest.raises(ValueError, match=message):
        average_precision(targets, scores)


def test_summary_with_wrong_number_of_labels():
    with pytest.raises(ValueError, match="one column per label"):
        summary([[1, 0]], [[1, 2]], LABELS)
