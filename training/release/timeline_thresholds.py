"""Thresholds of timelines: for which segment scores of a class an event is reported.

They are chosen on held-out clips of two kinds:

- Soundscapes mixed from clips of a single sound, whose strong labels are known (``training.data.augment.soundscapes``).
- Clips with none of the classes, as they are. All their events are false.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.inference.model import Model
from sedkit.judging.psds_and_f1 import f1_scores
from training.data.augment.soundscapes import Recipe, Samples, Sources
from training.data.lineage import most_specific
from training.data.store.source import Audio
from training.evaluate.metrics.event_decoding import Events, in_events, tile_targets
from training.release import platt_scaling
from training.release.scoring import Scores, SegmentScores, columns_of, run_model

Thresholds = NDArray[np.float64]


class ThresholdError(SedkitError):
    """Thresholds cannot be chosen on these clips."""


class Unknown(NamedTuple):
    """Recordings of one length with none of the classes.

    ``scores``: [recordings, segments, classes]. ``absent``: [recordings, 1, classes], whether a class is known to be
    absent.
    """

    scores: Scores
    absent: NDArray[np.bool_]

    def false(self, thresholds: Thresholds) -> NDArray[np.bool_]:
        """Which tiles lie in events of absent classes: [recordings, segments, classes]."""
        return in_events(self.scores, thresholds) & self.absent


class ScoredTimelines(NamedTuple):
    """Segment scores of held-out recordings, before any decoding.

    Attributes
    ----------
    scores, targets : [soundscapes, segments, classes]; targets are 0, 1, or NaN where unknown.
    sources : number of clips that the soundscapes are mixed from.
    unknown : the recordings with none of the classes, by length.
    """

    scores: NDArray[np.float64]
    targets: NDArray[np.float32]
    sources: int
    unknown: list[Unknown]

    @property
    def share(self) -> float:
        """Share of the recordings with none of the classes."""
        recordings = sum(len(each.scores) for each in self.unknown)
        return recordings / (recordings + self.sources)


class Chosen(NamedTuple):
    """Thresholds [classes], and the standard deviation of the classes' prior (``training.release.platt_scaling``)."""

    thresholds: Thresholds
    deviation: float


def score_timelines(model: Model, audio: Audio, rows: NDArray[np.int64], count: int, seed: int) -> ScoredTimelines:
    """Segment scores of ``count`` soundscapes mixed from the clips in ``rows``, and of those with none of the classes.

    The clips may have classes that the model does not know.

    Raises
    ------
    ThresholdError
        If no clip has a single sound (``training.data.lineage``) and is not silent.
    """
    clips = audio.manifest.take(rows)
    columns, every = columns_of(audio.manifest, model.contract.labels), len(audio.manifest.vocabulary.labels)
    specific, targets = most_specific(clips), audio.manifest.targets(rows)[:, columns]
    single, recipe = rows[specific >= 0], Recipe()
    labels = audio.manifest.labels.take(single)
    sources = Sources(audio, single, specific[specific >= 0], labels=labels, unchecked=labels.unchecked)
    if not any(sources.sounding(row) for row in single.tolist()):
        raise ThresholdError("soundscapes need validation and test clips of a single sound, and there are none")
    mixed = (soundscape(sources, recipe, np.random.default_rng((seed, number))) for number in range(count))
    sounds, events, unchecked = zip(*mixed, strict=True)
    view = partial(SegmentScores, len(columns))
    segments = run_model(model, view, sounds, count, "soundscapes")
    present = [
        tile_targets(sounding, len(scored), recipe.seconds, every, maybe)[:, columns]
        for sounding, scored, maybe in zip(events, segments, unchecked, strict=True)
    ]
    none = ~(targets > 0).any(1) & (targets == 0).any(1)
    unknown = run_model(model, view, (audio[row] for row in rows[none]), int(none.sum()), "unknown sounds")
    return ScoredTimelines(
        np.stack(segments).astype(np.float64),
        np.stack(present),
        len(single),
        by_length(unknown, targets[none] == 0),
    )


def by_length(scores: Sequence[Scores], absent: NDArray[np.bool_]) -> list[Unknown]:
    """Recordings of equal length together, which are decoded at once. ``scores``: [segments, classes] of each."""
    lengths = np.array([len(scored) for scored in scores], np.int64)
    groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
    return [Unknown(np.stack([scores[row] for row in rows.tolist()]), absent[rows, None]) for rows in groups]


def soundscape(sources: Sources, recipe: Recipe, random: np.random.Generator) -> tuple[Samples, Events, Events]:
    """A random soundscape with at least one event, its events, and when which unchecked classes may sound."""
    plan = sources.plan(recipe, random)
    while not plan.sounds:
        plan = sources.plan(recipe, random)
    return sources.render(plan, recipe, random), sources.labels(plan, recipe), sources.unchecked(plan, recipe)


def choose(timelines: ScoredTimelines, share: float) -> Chosen:
    """The thresholds with the highest F1 of events, where ``share`` of the recordings hold none of the classes.

    Segment scores are calibrated to learn how classes differ. This calibration is not stored, because class frequencies
    in soundscapes are artificial. A candidate is one calibrated threshold, mapped back to raw scores per class. So a
    class that unknown sounds resemble gets a higher threshold, and the others keep theirs.
    """
    fitted = platt_scaling.fit(*rows_to_fit(timelines, share))
    candidates = [platt_scaling.raw_thresholds(fitted.calibration, threshold) for threshold in platt_scaling.GRID]
    return Chosen(best_of(candidates, timelines, share), fitted.deviation)


def rows_to_fit(
    timelines: ScoredTimelines, share: float
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """Scores, targets and weights of all segments, [n, classes], [n, classes] and [n, 1].

    The segments together weigh at most as much as there are clips, because a clip occurs in many segments. Those of
    clips without a class have ``share`` of the weight.
    """
    scores, targets, sources, unknown = timelines
    classes = scores.shape[-1]
    rows, labels = [scores.reshape(-1, classes)], [targets.reshape(-1, classes)]
    clips = [np.full(len(rows[0]), min(1.0, sources / len(rows[0])))]
    for scored, absent in unknown:
        rows.append(scored.reshape(-1, classes).astype(np.float64))
        labels.append(np.where(absent, 0, np.nan).astype(np.float32).repeat(scored.shape[1], 1).reshape(-1, classes))
        clips.append(np.full(len(rows[-1]), share / timelines.share / scored.shape[1]))
    clips[0] *= (1 - share) / (1 - timelines.share)
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(clips)[:, None]


def best_of(candidates: Iterable[Thresholds], timelines: ScoredTimelines, share: float) -> Thresholds:
    """The candidate [classes] whose events give the highest F1 over tiles: micro-averaged, as :func:`f1`."""
    return max(candidates, key=lambda thresholds: f1(thresholds, timelines, share))


def f1(thresholds: Thresholds, timelines: ScoredTimelines, share: float) -> float:
    """Micro-averaged F1 of tiles in events, where ``share`` of the time is of recordings with none of the classes."""
    scores, targets, _, unknown = timelines
    known = ~np.isnan(targets)
    predicted, truth = in_events(scores, thresholds) & known, targets > 0
    false = 0.0
    if unknown:
        wrong = sum(int(each.false(thresholds).sum()) for each in unknown)
        rate = wrong / sum(each.scores.shape[0] * each.scores.shape[1] for each in unknown)
        false = rate * share / (1 - share) * scores.shape[0] * scores.shape[1]
    return float(2 * (predicted & truth).sum() / max(predicted.sum() + truth.sum() + false, 1))


def with_false_events(thresholds: Thresholds, unknown: Sequence[Unknown]) -> float:
    """Share of the recordings with none of the classes, at least one, in which there is an event."""
    return float(np.concatenate([each.false(thresholds).any(axis=(1, 2)) for each in unknown]).mean())


def event_f1(thresholds: Thresholds, timelines: ScoredTimelines) -> tuple[float, float]:
    """Micro- and macro-averaged F1 of tiles in events, in the soundscapes alone."""
    return f1_scores(in_events(timelines.scores, thresholds), timelines.targets)
