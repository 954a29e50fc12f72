"""Platt scaling where positives are few: one slope and one offset for all classes, and what each class adds.

A class of which a handful of clips is held out has little to say of how sure its scores are. So a class's offset is
the common one plus a deviation with a Gaussian prior (a random intercept). The width of the prior is the one that
makes the labels likeliest, all deviations allowed for (empirical Bayes, by Laplace's approximation). Cross-validation
would choose too narrow a one: in a small split that holds each class in its share, a class loses what is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.timeline.calibration import Calibration

DEVIATIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 1.7, 2.5)  # widths of the prior that are tried
LOG_SLOPE, OFFSET = 0.5, 5.0  # widths of the priors of the common ones, which matter for a handful of clips alone
LEAST = 1e-6  # scores below count as this
STEPS, CLOSE = 100, 1e-9
GRID = np.arange(1, 100) / 100  # thresholds
RAW = 0.1, 0.95  # lowest and highest threshold of raw scores: beyond, a handful of clips is not to be believed


class Fit(NamedTuple):
    """A calibration; ``evidence``: logarithm of how likely the labels are with its width of the prior."""

    calibration: Calibration
    deviation: float
    evidence: float


def fit(scores: NDArray[np.floating], targets: NDArray[np.floating], weight: float = 1.0) -> Fit:
    """The calibration with the likeliest width of the prior.

    Parameters
    ----------
    scores, targets : [n, classes], in [0, 1]; 0 or 1. Scores of exactly 0, silence, count for nothing.
    weight : of each of the n, below 1 where they are not independent.
    """
    return max((fit_with(deviation, scores, targets, weight) for deviation in DEVIATIONS), key=lambda fit: fit.evidence)


def fit_with(deviation: float, scores: NDArray[np.floating], targets: NDArray[np.floating], weight: float = 1.0) -> Fit:
    """The calibration of highest posterior probability with a prior of this width, by Newton's method."""
    odds, heard = log_odds(scores), weight * (scores > 0)
    classes = odds.shape[1]
    prior = np.r_[LOG_SLOPE**-2, OFFSET**-2, np.full(classes, deviation**-2)]
    found = np.zeros(2 + classes)  # logarithm of the slope, offset, deviations
    for _ in range(STEPS):
        slope = np.exp(found[0])
        logits = slope * odds + found[1] + found[2:]
        p = np.exp(-np.logaddexp(0, -logits))
        error, curvature = heard * (targets - p), heard * p * (1 - p)
        gradient = np.r_[slope * (error * odds).sum(), error.sum(), error.sum(0)] - prior * found
        hessian = np.diag(prior + np.r_[0, 0, curvature.sum(0)])
        hessian[0, 0] += slope**2 * (curvature * odds**2).sum()
        hessian[1, 1] += curvature.sum()
        hessian[0, 1:] = slope * np.r_[(curvature * odds).sum(), (curvature * odds).sum(0)]
        hessian[1, 2:] = curvature.sum(0)
        hessian = np.triu(hessian) + np.triu(hessian, 1).T
        step = np.linalg.solve(hessian, gradient)
        found += step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < CLOSE:
            break
    likelihood = (heard * (targets * logits - np.logaddexp(0, logits))).sum()
    evidence = likelihood - (prior * found**2).sum() / 2 + (np.log(prior).sum() - np.linalg.slogdet(hessian)[1]) / 2
    slopes = np.full(classes, np.exp(found[0]))
    return Fit(Calibration(np.round(slopes, 6), np.round(found[1] + found[2:], 6)), deviation, float(evidence))


def best_threshold(probabilities: NDArray[np.floating]) -> float:
    """The threshold of highest expected F1, all classes together, of calibrated scores.

    That is, of what would be right if they were right as often as they say: labels, of which there are few, are not
    asked again.
    """
    ranked = np.sort(probabilities, axis=None)[::-1]
    calls = np.searchsorted(-ranked, -GRID, side="right")  # at or above each threshold
    hits = np.concatenate([[0.0], np.cumsum(ranked)])[calls]
    return float(GRID[np.argmax(2 * hits / (calls + ranked.sum()))])


def raw_thresholds(calibration: Calibration, threshold: float) -> NDArray[np.float64]:
    """The scores [classes] that ``calibration`` turns into ``threshold``; in [0.1, 0.95]."""
    odds = (np.log(threshold / (1 - threshold)) - calibration.offset) / calibration.slope
    return np.clip(1 / (1 + np.exp(-odds)), *RAW)


def log_odds(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    p = np.clip(scores.astype(np.float64), LEAST, 1 - LEAST)
    return np.log(p / (1 - p))
