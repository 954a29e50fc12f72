"""Cluster bootstrap over recordings: confidence intervals of metrics.

A replicate draws groups (all clips of one recording) with replacement, as many as there are. A clip counts as often as
its group was drawn. Two systems measured on the same replicates give paired differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def resampling_weights(groups: Sequence[str], replicates: int, seed: int = 0) -> Array:
    """How often each replicate draws each clip, [replicates, clips]. ``groups`` [clips]: the recording of each."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), replicates)
    return counts[:, group].astype(np.float64)


def accuracy(targets: NDArray[np.float32], scores: NDArray[np.float32], weights: Array) -> Array:
    """Accuracy of every replicate, defined as in ``sedkit.metrics``.

    Parameters
    ----------
    targets, scores : [clips, classes].
    weights : [replicates, clips], from :func:`resampling_weights`.

    Returns
    -------
    [replicates], over the clips with one label; NaN where a replicate drew none.
    """
    single = targets.sum(1) == 1
    right = scores[single].argmax(1) == targets[single].argmax(1)
    counts = weights[:, single]
    with np.errstate(invalid="ignore"):
        return np.asarray(counts @ right / counts.sum(1))


def mean_ap(targets: NDArray[np.float32], scores: NDArray[np.float32], weights: Array) -> Array:
    """Mean average precision of every replicate, defined as in ``sedkit.metrics``.

    Parameters
    ----------
    targets, scores : [clips, classes].
    weights : [replicates, clips], from :func:`resampling_weights`.

    Returns
    -------
    [replicates], over the classes with a positive clip in the replicate.
    """
    return mean_over_classes(class_ap(targets, scores, weights))


def mean_over_classes(values: Array) -> Array:
    """Mean of [classes, replicates] over the classes that are defined, [replicates]; NaN where none is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(0) / defined.sum(0))


def class_ap(targets: NDArray[Any], scores: NDArray[Any], weights: Array) -> Array:
    """Average precision, [classes, replicates]; NaN without a positive clip. Parameters as for :func:`mean_ap`."""
    return np.stack([_ap(*pair, weights) for pair in zip(targets.T, scores.T, strict=True)])


def class_auc(targets: NDArray[Any], scores: NDArray[Any], weights: Array) -> Array:
    """Area under the ROC curve, [classes, replicates]; NaN without positive or negative clips."""
    return np.stack([_auc(*pair, weights) for pair in zip(targets.T, scores.T, strict=True)])


def interval(replicates: Array, value: float, limits: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float] | None:
    """A 95 % interval: the central 95 % of the replicates, shifted so that their mean is the value itself.

    The shift removes a bias: a clip drawn twice ranks next to itself, so AP of a replicate is too high.

    Parameters
    ----------
    replicates : [replicates]; NaN where undefined.
    limits : of the metric.

    Returns
    -------
    Lower and upper bound; None if no replicate is defined.
    """
    defined = replicates[np.isfinite(replicates)]
    if not len(defined) or not np.isfinite(value):
        return None
    low, high = (np.quantile(defined, (0.025, 0.975)) - defined.mean() + value).clip(*limits)
    return float(low), float(high)


def _ap(truth: NDArray[np.float32], guess: NDArray[np.float32], weights: Array) -> Array:
    """Average precision of one class in every replicate, [replicates]; clips with equal scores share one rank."""
    order = np.argsort(-guess, kind="stable")
    ranked = -guess[order]
    last = np.searchsorted(ranked, ranked, side="right") - 1  # last clip with the same score
    counts = weights[:, order]
    positive = truth[order] > 0
    hits = counts[:, positive]
    if not positive.any():
        return np.full(len(weights), np.nan)
    true_positives = np.cumsum(counts * positive, 1)[:, last[positive]]
    predicted = np.cumsum(counts, 1)[:, last[positive]]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits > 0, true_positives / predicted, 0)
        return np.asarray((hits * precision).sum(1) / hits.sum(1))


def _auc(truth: NDArray[Any], guess: NDArray[Any], weights: Array) -> Array:
    """AUC of one class in every replicate, [replicates]: of a positive and a negative clip, ties count half."""
    order = np.argsort(guess, kind="stable")
    ranked = guess[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))  # of groups of equal scores
    positive, negative = (
        np.add.reduceat(weights[:, order] * side, starts, axis=1) for side in (truth[order] > 0, truth[order] <= 0)
    )
    below = np.cumsum(negative, 1) - negative / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((positive * below).sum(1) / (positive.sum(1) * negative.sum(1)))
