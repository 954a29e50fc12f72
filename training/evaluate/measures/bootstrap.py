"""How far a figure may be off for the clips that it happens to be measured on: the bootstrap, over whole sources.

A replicate draws as many sources (groups of clips of one recording) as there are, with replacement, and every clip
counts as often as its source was drawn. Figures of two systems in the same replicates are compared clip by clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def drawn(groups: Sequence[str], replicates: int, seed: int = 0) -> Array:
    """How often each clip was drawn, [replicates, clips]. ``groups``: [clips], the source of each."""
    names, source = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), replicates)
    return counts[:, source].astype(np.float64)


def accuracy(targets: NDArray[np.float32], scores: NDArray[np.float32], weights: Array) -> Array:
    """[replicates]: accuracy as in ``sedkit.metrics``, over the clips with one label; NaN where none was drawn.

    ``targets``, ``scores``: [clips, classes]; ``weights``: [replicates, clips].
    """
    single = targets.sum(1) == 1
    right = scores[single].argmax(1) == targets[single].argmax(1)
    held = weights[:, single]
    with np.errstate(invalid="ignore"):
        return np.asarray(held @ right / held.sum(1))


def mean_ap(targets: NDArray[np.float32], scores: NDArray[np.float32], weights: Array) -> Array:
    """[replicates]: mAP as in ``sedkit.metrics``, over the classes of which a clip was drawn.

    ``targets``, ``scores``: [clips, classes]; ``weights``: [replicates, clips].
    """
    aps = np.stack([_ap(*pair, weights) for pair in zip(targets.T, scores.T, strict=True)])
    defined = ~np.isnan(aps)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, aps, 0).sum(0) / defined.sum(0))


def _ap(truth: NDArray[np.float32], guess: NDArray[np.float32], weights: Array) -> Array:
    """[replicates]: average precision of one class; clips of equal score are not parted."""
    order = np.argsort(-guess, kind="stable")
    ranked = -guess[order]
    last = np.searchsorted(ranked, ranked, side="right") - 1  # of the clips of the same score
    held = weights[:, order]
    positive = truth[order] > 0
    hits = held[:, positive]
    if not positive.any():
        return np.full(len(weights), np.nan)
    found = np.cumsum(held * positive, 1)[:, last[positive]]
    calls = np.cumsum(held, 1)[:, last[positive]]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hits > 0, found / calls, 0)
        return np.asarray((hits * precision).sum(1) / hits.sum(1))
