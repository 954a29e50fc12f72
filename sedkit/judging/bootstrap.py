"""Cluster bootstrap over recordings: confidence intervals of accuracy and mAP.

A replicate draws groups (all clips of one recording) with replacement, as many as there are. A clip counts as often as
its group was drawn. Two systems measured on the same replicates give paired differences.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    aps = np.stack([_ap(*pair, weights) for pair in zip(targets.T, scores.T, strict=True)])
    defined = ~np.isnan(aps)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, aps, 0).sum(0) / defined.sum(0))


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
