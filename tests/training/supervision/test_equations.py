"""Eqs. 2 to 7 of the paper, numerically, against plain binary cross-entropy on the mixed target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.supervision.equations import LABELS, SupervisionError, checked, parse, single_teacher, softened, targets

SHAPE = (7, 5)
shares = st.floats(0, 1)


def cross_entropy(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """l(p, y) of Eq. 1, class by class."""
    return -y * np.log(p) - (1 - y) * np.log(1 - p)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Student's probabilities, labels, and two teachers' probabilities."""
    random = np.random.default_rng(seed)
    p, first, second = random.uniform(0.01, 0.99, (3, *SHAPE))
    return p, (random.random(SHAPE) < 0.3).astype(float), first, second


@given(st.integers(0, 1000), shares)
def test_eq_3_splits_the_loss_into_a_label_and_a_teacher_term(seed: int, alpha: float) -> None:
    p, y, teacher, _ = draw(seed)
    mixed = targets(checked({LABELS: alpha, 0: 1 - alpha}, 1), y, {0: teacher})
    expected = cross_entropy(p, alpha * y) + (1 - alpha) * teacher * np.log((1 - p) / p)
    np.testing.assert_allclose(cross_entropy(p, mixed), expected, atol=1e-5)


@given(st.integers(0, 1000), shares)
def test_eq_5_splits_the_loss_into_label_loss_and_teacher_error(seed: int, alpha: float) -> None:
    p, y, teacher, _ = draw(seed)
    mixed = targets(checked({LABELS: alpha, 0: 1 - alpha}, 1), y, {0: teacher})
    # The paper prints (y - teacher), but the identity holds for (teacher - y).
    expected = cross_entropy(p, y).mean() + (1 - alpha) * ((teacher - y) * np.log((1 - p) / p)).mean()
    assert cross_entropy(p, mixed).mean() == pytest.approx(expected, abs=1e-5)


@given(st.integers(0, 1000), shares, shares)
def test_eq_7_several_teachers(seed: int, a: float, b: float) -> None:
    p, y, first, second = draw(seed)
    weights = {LABELS: a, 0: (1 - a) * b, 1: (1 - a) * (1 - b)}
    mixed = targets(checked(weights, 2), y, {0: first, 1: second})
    odds = np.log((1 - p) / p)
    expected = cross_entropy(p, a * y) + weights[0] * first * odds + weights[1] * second * odds
    np.testing.assert_allclose(cross_entropy(p, mixed), expected, atol=1e-5)


def test_eq_2_by_hand() -> None:
    y, teacher = np.array([[1.0, 0.0]]), np.array([[0.6, 0.2]])
    np.testing.assert_allclose(targets({LABELS: 0.3, 0: 0.7}, y, {0: teacher}), [[0.72, 0.14]], rtol=1e-6)


def test_alpha_one_gives_the_labels_and_alpha_zero_the_teacher() -> None:
    _, y, teacher, _ = draw(0)
    np.testing.assert_array_equal(targets(single_teacher(1, [1.0])[0], y, {}), y.astype(np.float32))
    np.testing.assert_allclose(targets(single_teacher(1, [0.0])[0], y, {0: teacher}), teacher, rtol=1e-6)


def test_fixed_alpha_and_schedule_of_alphas() -> None:
    assert single_teacher(2, [0.3]) == [{LABELS: 0.3, 0: 0.7}, {LABELS: 0.3, 1: 0.7}]
    assert single_teacher(3, [0.3, 0.2, 0.0])[1:] == [{LABELS: 0.2, 1: 0.8}, {2: 1.0}]


def test_parse_eq_6() -> None:
    assert parse("labels=0.3, 0=0.3,1=0.4", 2) == {LABELS: 0.3, 0: 0.3, 1: 0.4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels=0.3,0=0.6", "sum to 0.9"),
        ("labels=0.3,2=0.7", "generation 2 does not exist yet"),
        ("labels=-0.1,0=1.1", r"in \[0, 1\]"),
        ("labels=x,0=1", "not a weight"),
        ("label=1", "neither 'labels', nor the number"),
        ("0=0.5,0=0.5", "twice"),
        ("labels=nan,0=1", r"in \[0, 1\]"),
    ],
)
def test_weights_that_are_not_a_convex_combination_are_refused(text: str, message: str) -> None:
    with pytest.raises(SupervisionError, match=message):
        parse(text, 2)


def test_schedule_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(SupervisionError, match="2 values of alpha for 3 stages"):
        single_teacher(3, [0.3, 0.2])


def test_temperature_divides_logits_and_keeps_0_and_1() -> None:
    p = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    assert softened(p, 1) is p
    np.testing.assert_allclose(softened(p, 2)[1:4], 1 / (1 + np.exp(-np.log(p[1:4] / (1 - p[1:4])) / 2)))
    np.testing.assert_allclose(softened(p, 0.25)[[0, 2, 4]], [0, 0.5, 1])
    assert softened(p, 0.25)[3] > 0.9 > softened(p, 4)[3]


def test_predictions_that_are_unknown_do_not_count() -> None:
    labels = np.array([[1.0, 0.0, np.nan, np.nan]], np.float32)
    some = np.array([[np.nan, 0.5, 0.5, np.nan]], np.float32)
    weights = {LABELS: 0.5, "all": 0.25, "some": 0.25}
    given = targets(weights, labels, {"all": np.full((1, 4), 0.2, np.float32), "some": some})
    np.testing.assert_allclose(given, [[(0.5 + 0.05) / 0.75, 0.05 + 0.125, 0.35, 0.2]], rtol=1e-6)
    np.testing.assert_array_equal(targets({LABELS: 0.5, "some": 0.5}, labels, {"some": some})[0, [0, 3]], [1, np.nan])
