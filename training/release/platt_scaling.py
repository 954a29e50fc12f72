"""Platt scaling with few positives per class, as a hierarchical logistic regression.

    probability = sigmoid(slope * logit(score) + offset + deviation[class])

Slope and offset are shared by all classes. A class adds a deviation with a Gaussian prior (a random intercept), so that
classes with a handful of held-out clips stay close to the others. Empirical Bayes chooses the prior's standard
deviation: the value with the highest marginal likelihood of the labels, by Laplace's approximation. Cross-validation
would choose too small a value, because small stratified splits lose a class's clips to the part that is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.timeline.calibration import Calibration

DEVIATIONS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5)  # of the prior, candidates
LOG_SLOPE, OFFSET = 0.5, 5.0  # prior standard deviations of log(slope) and offset; they matter for very few clips only
LEAST = 1e-6  # scores are clipped to [LEAST, 1 - LEAST]
STEPS, CONVERGED = 100, 1e-9  # of Newton's method
GRID = np.arange(1, 100) / 100  # candidate thresholds
RAW = 0.1, 0.95  # range of thresholds of raw scores; a few clips cannot support more extreme ones


class Fit(NamedTuple):
    """A calibration, the standard deviation of its prior, and the logarithm of the marginal likelihood."""

    calibration: Calibration
    deviation: float
    evidence: float


Weight = float | NDArray[np.floating]


def fit(scores: NDArray[np.floating], targets: NDArray[np.floating], weight: Weight = 1.0) -> Fit:
    """The calibration whose prior has the highest marginal likelihood.

    Parameters
    ----------
    scores, targets : [n, classes], in [0, 1]; 0, 1, or NaN where unknown. Unknown targets are ignored, and scores of
        exactly 0, which are silence.
    weight : weight of each row, one number or [n, 1]; below 1 if rows are not independent.
    """
    return max((fit_with(deviation, scores, targets, weight) for deviation in DEVIATIONS), key=lambda fit: fit.evidence)


def fit_with(
    deviation: float, scores: NDArray[np.floating], targets: NDArray[np.floating], weight: Weight = 1.0
) -> Fit:
    """The maximum a posteriori calibration for a prior of standard deviation ``deviation``, by Newton's method."""
    odds, weights = log_odds(scores), weight * ((scores > 0) & ~np.isnan(targets))
    targets = np.nan_to_num(targets)
    classes = odds.shape[1]
    prior = np.r_[LOG_SLOPE**-2, OFFSET**-2, np.full(classes, deviation**-2)]
    parameters = np.zeros(2 + classes)  # logarithm of the slope, offset, deviations
    for _ in range(STEPS):
        slope = np.exp(parameters[0])
        logits = slope * odds + parameters[1] + parameters[2:]
        p = np.exp(-np.logaddexp(0, -logits))
        error, curvature = weights * (targets - p), weights * p * (1 - p)
        gradient = np.r_[slope * (error * odds).sum(), error.sum(), error.sum(0)] - prior * parameters
        hessian = np.diag(prior + np.r_[0, 0, curvature.sum(0)])
        hessian[0, 0] += slope**2 * (curvature * odds**2).sum()
        hessian[1, 1] += curvature.sum()
        hessian[0, 1:] = slope * np.r_[(curvature * odds).sum(), (curvature * odds).sum(0)]
        hessian[1, 2:] = curvature.sum(0)
        hessian = np.triu(hessian) + np.triu(hessian, 1).T
        step = np.linalg.solve(hessian, gradient)
        parameters += step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < CONVERGED:
            break
    likelihood = (weights * (targets * logits - np.logaddexp(0, logits))).sum()
    penalty = (prior * parameters**2).sum() / 2
    evidence = likelihood - penalty + (np.log(prior).sum() - np.linalg.slogdet(hessian)[1]) / 2
    slopes, offsets = np.full(classes, np.exp(parameters[0])), parameters[1] + parameters[2:]
    return Fit(Calibration(np.round(slopes, 6), np.round(offsets, 6)), deviation, float(evidence))


def best_threshold(probabilities: NDArray[np.floating]) -> float:
    """The threshold with the highest expected micro-averaged F1 of calibrated scores.

    The expectation takes calibrated scores as probabilities. It needs no labels, so a small split is not fitted twice.
    """
    ranked = np.sort(probabilities, axis=None)[::-1]
    predicted = np.searchsorted(-ranked, -GRID, side="right")  # number of scores at or above each threshold
    hits = np.concatenate([[0.0], np.cumsum(ranked)])[predicted]
    return float(GRID[np.argmax(2 * hits / (predicted + ranked.sum()))])


def raw_thresholds(calibration: Calibration, threshold: float) -> NDArray[np.float64]:
    """The raw scores [classes] that ``calibration`` maps to ``threshold``, clipped to [0.1, 0.95]."""
    odds = (np.log(threshold / (1 - threshold)) - calibration.offset) / calibration.slope
    return np.asarray(np.clip(1 / (1 + np.exp(-odds)), *RAW))


def log_odds(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logit of the scores."""
    p = np.clip(scores.astype(np.float64), LEAST, 1 - LEAST)
    return np.log(p / (1 - p))
