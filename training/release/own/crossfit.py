"""Own classes from clips to figures: rows for the last layer, and held-out scores of every clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.timeline.calibration import Calibration
from training.release import platt_scaling
from training.release.own.background import Background
from training.release.own.clips import Clip, folds_of, key_of, targets_of
from training.release.own.embeddings import Embeddings
from training.release.own.head import OWN, Examples, Rows, clip_scores, fit, padded

FOLDS = 5
ENOUGH = 20  # held-out clips of own classes, from which a calibration means something
OTHERS = 7  # other clips for each clip of an own class, at most, in calibration: a score is a probability among these
UNCALIBRATED = 0.5  # threshold where there are fewer


class Sounds(NamedTuple):
    """Clips to train on, with their embeddings.

    Attributes
    ----------
    clips : own clips, and other sounds of the user's.
    segments : embeddings of each clip.
    seconds : [clips] length of each.
    background : other sounds that come with the package.
    """

    clips: Sequence[Clip]
    segments: Sequence[Embeddings]
    seconds: NDArray[np.float64]
    background: Background


class Result(NamedTuple):
    """What was learnt, and how good it is on held-out clips.

    Attributes
    ----------
    calibration : None with fewer than ``ENOUGH`` clips.
    threshold : of tag scores, for all own classes.
    timeline_thresholds : [classes], of segment scores.
    clips, found : [classes] number of own clips with the class, and of those with a score at or above the threshold.
    confused : [classes] clips of other own classes with such a score.
    false_alarms : [classes] clips of none of the classes with such a score, the background's included.
    background_hours : [classes] length of all clips of none of the classes.
    """

    rows: Rows
    calibration: Calibration | None
    threshold: float
    timeline_thresholds: NDArray[np.float64]
    clips: NDArray[np.int64]
    found: NDArray[np.int64]
    confused: NDArray[np.int64]
    false_alarms: NDArray[np.int64]
    background_hours: NDArray[np.float64]


def learn(sounds: Sounds, classes: Sequence[Label], initial: Rows) -> Result:
    """Learn ``classes``, starting from the rows ``initial``. Each clip is scored by rows fitted without it."""
    own = targets_of([{key_of(clip.label)} if clip.label else set() for clip in sounds.clips], classes)
    others = targets_of(sounds.background.labels, classes)
    segments, other_segments = padded(sounds.segments), _by_clip(sounds.background)

    def rows_without(fold: int | None) -> Rows:
        mine, theirs = own_folds != fold, background_folds != fold
        examples = Examples(segments[mine], own[mine], OWN), Examples(other_segments[theirs], others[theirs], 1.0)
        return fit(examples, initial)

    own_folds, background_folds = folds_of(sounds.clips, FOLDS), np.arange(len(other_segments)) % FOLDS
    scores, background_scores = np.zeros(own.shape), np.zeros(others.shape)
    for fold in range(FOLDS):
        rows = rows_without(fold)
        scores[own_folds == fold] = clip_scores(rows, segments[own_folds == fold])
        background_scores[background_folds == fold] = clip_scores(rows, other_segments[background_folds == fold])
    return _judged(
        rows_without(None),
        np.concatenate([scores, background_scores]),
        np.concatenate([own, others]),
        np.concatenate([sounds.seconds, sounds.background.seconds]),
        [clip.label is not None for clip in sounds.clips],
    )


def _judged(
    rows: Rows,
    scores: NDArray[np.float64],
    targets: NDArray[np.float32],
    seconds: NDArray[np.float64],
    of_a_class: Sequence[bool],
) -> Result:
    """``of_a_class``: for the first clips, the user's, whether they have an own class."""
    mine = np.zeros(len(scores), bool)
    mine[: len(of_a_class)] = of_a_class
    calibration, threshold = None, UNCALIBRATED
    timeline = np.full(scores.shape[1], UNCALIBRATED)
    if mine.sum() >= ENOUGH:
        others = np.flatnonzero(~mine)
        chosen = np.r_[np.flatnonzero(mine), others[:: max(1, round(len(others) / (OTHERS * mine.sum())))]]
        calibration = platt_scaling.fit(scores[chosen], targets[chosen]).calibration
        threshold = platt_scaling.best_threshold(calibration(scores[mine]))
        timeline = platt_scaling.raw_thresholds(calibration, threshold)
        scores = calibration(scores)
    reached, absent = scores >= threshold, targets == 0
    present = (targets == 1) & mine[:, None]
    other = absent & ~mine[:, None]
    return Result(
        rows,
        calibration,
        threshold,
        timeline,
        clips=present.sum(0),
        found=(reached & present).sum(0),
        confused=(reached & absent & mine[:, None]).sum(0),
        false_alarms=(reached & other).sum(0),
        background_hours=(other * seconds[:, None]).sum(0) / 3600,
    )


def _by_clip(background: Background) -> Embeddings:
    """The segments of the background as clips [clips, K, 1024]."""
    edges = np.flatnonzero(np.diff(background.clips)) + 1
    return padded(np.split(background.segments, edges))
