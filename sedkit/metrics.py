"""Average precision, area under the ROC curve and d', per class and averaged over classes.

The definitions are those of the AudioSet literature. Clips with equal scores are counted together, so their order does
not matter. AP is undefined for a class without positives; AUC is undefined for a class without positives or without
negatives. Undefined values are NaN (None in dictionaries) and are left out of the means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sedkit.contract import Label


def average_precision(targets: ArrayLike, scores: ArrayLike) -> float:
    """Average precision, the step-wise area under the precision-recall curve: AP = sum_n (R_n - R_{n-1}) P_n.

    Parameters
    ----------
    targets : [clips], 0 or 1.
    scores : [clips], any finite numbers; higher means more likely.

    Returns
    -------
    In [0, 1]; NaN if there are no positives.

    Raises
    ------
    ValueError
        If shapes differ, a target is neither 0 nor 1, or a score is not finite.
    """
    hits, calls = _curve(targets, scores)
    if hits[-1] == 0:
        return math.nan
    return float(np.sum(np.diff(hits) * (hits[1:] / calls[1:])) / hits[-1])


def roc_auc(targets: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a positive scores above a negative; ties count half.

    Parameters and errors as in :func:`average_precision`.

    Returns
    -------
    In [0, 1]; NaN if there are no positives or no negatives.
    """
    hits, calls = _curve(targets, scores)
    false = calls - hits
    if hits[-1] == 0 or false[-1] == 0:
        return math.nan
    return float(np.sum(np.diff(false) * (hits[1:] + hits[:-1]) / 2) / (hits[-1] * false[-1]))


def d_prime(auc: float) -> float:
    """d' = sqrt(2) * Phi^-1(auc), the distance between two unit normal distributions that have this AUC.

    Infinite if ``auc`` is 0 or 1; NaN if it is NaN.

    Raises
    ------
    ValueError
        If ``auc`` is outside [0, 1].
    """
    if math.isnan(auc):
        return math.nan
    if auc in (0, 1):
        return math.copysign(math.inf, auc - 0.5)
    if not 0 < auc < 1:
        raise ValueError(f"an AUC must be in [0, 1], not {auc}")
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


@dataclass(frozen=True)
class Summary:
    """Metrics of a set of clips.

    Attributes
    ----------
    clips : number of clips.
    labels : one per class.
    positives : [classes] int64, number of clips that contain each class.
    ap, auc, d_prime : [classes] float64, NaN where undefined.
    mean_ap, mean_auc : means over the classes where the metric is defined; NaN if there are none.
    mean_d_prime : d' of ``mean_auc``, as in the AudioSet literature; not the mean of ``d_prime``.
    accuracy : fraction of the single-label clips whose label has the highest score (of equal scores, the first class
        counts); NaN if there are no such clips.
    single_label_clips : number of clips with exactly one label.
    """

    clips: int
    labels: tuple[Label, ...]
    positives: NDArray[np.int64] = field(repr=False)
    ap: NDArray[np.float64] = field(repr=False)
    auc: NDArray[np.float64] = field(repr=False)
    d_prime: NDArray[np.float64] = field(repr=False)
    mean_ap: float
    mean_auc: float
    mean_d_prime: float
    accuracy: float
    single_label_clips: int

    @property
    def without_positives(self) -> tuple[Label, ...]:
        """Classes without positives; they are left out of the means."""
        return tuple(label for label, count in zip(self.labels, self.positives, strict=True) if count == 0)

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON: the means as ``mAP``, ``mAUC``, ``d_prime`` and ``accuracy``, and a list ``classes``.

        Undefined and infinite values are None.
        """
        columns = zip(self.labels, self.positives.tolist(), self.ap, self.auc, self.d_prime, strict=True)
        return {
            "clips": self.clips,
            "mAP": _finite(self.mean_ap),
            "mAUC": _finite(self.mean_auc),
            "d_prime": _finite(self.mean_d_prime),
            "accuracy": _finite(self.accuracy),
            "single_label_clips": self.single_label_clips,
            "without_positives": [label.name for label in self.without_positives],
            "classes": [
                {
                    "label": label.name,
                    "mid": label.mid,
                    "positives": count,
                    "AP": _finite(ap),
                    "AUC": _finite(auc),
                    "d_prime": _finite(distance),
                }
                for label, count, ap, auc, distance in columns
            ],
        }


def summary(targets: ArrayLike, scores: ArrayLike, labels: Sequence[Label]) -> Summary:
    """Compute all metrics of a set of clips.

    Parameters
    ----------
    targets : [clips, classes], 0 or 1; NaN where it is unknown whether a clip contains a class. Such a pair is left
        out of the class's metrics.
    scores : [clips, classes], any finite numbers; higher means more likely.
    labels : one per class.

    Raises
    ------
    ValueError
        If shapes do not agree, there are no clips, a target is none of 0, 1 and NaN, or a score is not finite.
    """
    known = ~np.isnan(np.asarray(targets, np.float64))
    truth, guess = _checked(np.where(known, targets, 0), scores)
    if truth.ndim != 2 or truth.shape[1] != len(labels):
        raise ValueError(f"targets must be [clips, {len(labels)}], one column per label, not {list(truth.shape)}")
    columns = [(hit[k], score[k]) for hit, score, k in zip(truth.T, guess.T, known.T, strict=True)]
    ap = np.array([average_precision(*pair) if len(pair[0]) else math.nan for pair in columns])
    auc = np.array([roc_auc(*pair) if len(pair[0]) else math.nan for pair in columns])
    single = (truth.sum(axis=1) == 1) & known.all(axis=1)
    right = truth[single].argmax(axis=1) == guess[single].argmax(axis=1)
    mean_auc = _mean(auc)
    return Summary(
        clips=len(truth),
        labels=tuple(labels),
        positives=truth.sum(axis=0, dtype=np.int64),
        ap=ap,
        auc=auc,
        d_prime=np.array([d_prime(value) for value in auc]),
        mean_ap=_mean(ap),
        mean_auc=mean_auc,
        mean_d_prime=d_prime(mean_auc),
        accuracy=_mean(right.astype(np.float64)),
        single_label_clips=len(right),
    )


def _curve(targets: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number of positives, and of clips, at or above each distinct score, highest first; both begin with 0."""
    truth, guess = _checked(targets, scores)
    if truth.ndim != 1:
        raise ValueError(f"targets must be [clips], not {list(truth.shape)}")
    order = np.argsort(-guess, kind="stable")
    last = np.append(np.flatnonzero(np.diff(guess[order])), len(order) - 1)  # last clip of each group of equal scores
    hits = np.cumsum(truth[order], dtype=np.float64)[last]
    return np.insert(hits, 0, 0.0), np.insert(last + 1.0, 0, 0.0)


def _checked(targets: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    truth, guess = np.asarray(targets), np.asarray(scores, dtype=np.float64)
    if truth.shape != guess.shape or not truth.size:
        raise ValueError(
            f"targets {list(truth.shape)} and scores {list(guess.shape)} must have the same shape and at least one clip"
        )
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("targets must be 0 or 1")
    if not np.isfinite(guess).all():
        raise ValueError("scores must be finite")
    return truth.astype(bool), guess


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
