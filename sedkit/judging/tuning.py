"""The search for the post-processing settings that serve a user's recordings best.

The recordings are analysed once. The search then finds events in their segment scores with many settings: it goes
through the settings in turn and keeps the value that is best, each time with the best threshold per class. All
thresholds of all classes are tried in one pass over a recording.

Settings that are chosen on some recordings look better on these than they are. So they are judged by cross-validation:
the recordings are divided into folds, and those of each fold are judged with the settings chosen on all others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.judging import bootstrap
from sedkit.judging.analysis import Analysed, events_of
from sedkit.judging.figures import Figure
from sedkit.judging.psds_and_f1 import (
    COLLAR,
    OFFSET_SHARE,
    SEGMENT,
    Detections,
    Spans,
    event_counts,
    f1_of_counts,
    macro,
    segment_counts,
)
from sedkit.timeline.detection import detect
from sedkit.timeline.settings import PostProcessing

THRESHOLDS = np.array([0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
VALUES: dict[str, tuple[float, ...]] = {  # in the order in which they are tried
    "leave": (0.05, 0.1, 0.2, 0.35, 0.5, 0.75),
    "hold": (0.64, 1.28, 2.88, math.inf),
    "merge_gap": (0.0, 0.3, 0.6, 1.0, 2.0),
    "median": (0.0, 0.96, 1.6),
    "min_duration": (0.0, 0.2, 0.4, 0.8),
}
ROUNDS = 2
WORTHWHILE = 0.002  # a value other than the default must improve the mean F1 by this much
NEARLY_BEST = 0.01  # of thresholds whose F1 is at most this much below the best, the one nearest to the model's counts
FEWEST_EVENTS = 3  # of a class, to choose its own threshold
METRICS = ("event-f1", "segment-f1")


@dataclass(frozen=True)
class Labelled:
    """A recording with labels: segment scores of the judged classes, and its true events."""

    name: str
    analysed: Analysed
    truth: Spans


class Search:
    """Searches for settings; keeps what it has computed, so that the folds share it.

    Parameters
    ----------
    recordings : all of them.
    labels : the judged classes.
    thresholds : the model's.
    base : the model's settings, from which the search starts.
    metric : one of ``METRICS``.
    """

    def __init__(
        self,
        recordings: Sequence[Labelled],
        labels: Sequence[Label],
        thresholds: NDArray[np.float64],
        metric: str,
        base: PostProcessing | None = None,
    ) -> None:
        self.recordings, self.labels, self.thresholds = recordings, labels, thresholds
        self.base = base or PostProcessing()
        self.count = event_hits if metric == "event-f1" else segment_hits
        self.known: dict[str, NDArray[np.float64]] = {}  # by settings

    def counts(self, settings: PostProcessing) -> NDArray[np.float64]:
        """Hits, detections and true events, [recordings, classes, thresholds, 3]."""
        key = repr(settings)
        if key not in self.known:
            self.known[key] = np.stack([self._counts(each, settings) for each in self.recordings])
        return self.known[key]

    def _counts(self, recording: Labelled, settings: PostProcessing) -> NDArray[np.float64]:
        classes, levels = len(self.labels), len(THRESHOLDS)
        settings = settings.replace(max_classes=None)  # the columns are not different classes
        columns = settings.columns([label for label in self.labels for _ in THRESHOLDS], np.tile(THRESHOLDS, classes))
        analysed = recording.analysed
        scores = np.repeat(analysed.scores, levels, axis=1)
        found: list[list[tuple[float, float]]] = [[] for _ in range(classes * levels)]
        for event in detect(scores, analysed.changes, analysed.duration, columns):
            found[event.column].append((event.onset, event.offset))
        counts = np.zeros((classes, levels, 3))
        for column in range(classes):
            true = [(onset, offset) for onset, offset, other in recording.truth if other == column]
            for level in range(levels):
                counts[column, level] = self.count(true, found[column * levels + level])
        return counts

    def best(self, chosen: NDArray[np.bool_]) -> PostProcessing:
        """The best settings for the `chosen` recordings, [recordings]."""
        settings = self.base.replace(classes={})
        score = self._score(settings, chosen)
        for _ in range(ROUNDS):
            before = settings
            for name, values in VALUES.items():
                for value in values:
                    other = settings.replace(**{name: value})
                    found = self._score(other, chosen)
                    if found > score + WORTHWHILE:
                        settings, score = other, found
            if settings == before:
                break
        return self._with_thresholds(settings, chosen)

    def _f1(self, settings: PostProcessing, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """F1, [classes, thresholds]; NaN for classes without an event. Smoothed: its neighbours must be good, too."""
        counts = self.counts(settings)[chosen].sum(axis=0)
        f1 = f1_of_counts(counts)
        padded = np.pad(f1, ((0, 0), (1, 1)), mode="edge")
        smooth = (padded[:, :-2] + 2 * f1 + padded[:, 2:]) / 4
        smooth[counts[:, 0, 2] == 0] = np.nan
        return smooth

    def _score(self, settings: PostProcessing, chosen: NDArray[np.bool_]) -> float:
        best = self._f1(settings, chosen).max(axis=1)
        return float(np.nanmean(best)) if not np.isnan(best).all() else 0.0

    def _with_thresholds(self, settings: PostProcessing, chosen: NDArray[np.bool_]) -> PostProcessing:
        """The settings with the best threshold of every class that has enough events."""
        f1 = self._f1(settings, chosen)
        used = [each for each, use in zip(self.recordings, chosen, strict=True) if use]
        events = np.bincount([column for each in used for *_, column in each.truth], minlength=len(self.labels))
        for column, label in enumerate(self.labels):
            if events[column] >= FEWEST_EVENTS:
                good = np.flatnonzero(f1[column] >= f1[column].max() - NEARLY_BEST)
                distance = np.abs(np.log(THRESHOLDS[good] / self.thresholds[column]))
                settings = settings.for_class(label.name, threshold=float(THRESHOLDS[good[distance.argmin()]]))
        return settings


def event_hits(true: Sequence[tuple[float, float]], found: Sequence[tuple[float, float]]) -> tuple[int, int, int]:
    """Hits, detections and true events of a class in a recording, with the tolerances of event F1."""
    free = list(found)
    hits = 0
    for onset, offset in true:
        slack = max(COLLAR, OFFSET_SHARE * (offset - onset))
        for each in free:
            if abs(each[0] - onset) <= COLLAR and abs(each[1] - offset) <= slack:
                free.remove(each)
                hits += 1
                break
    return hits, len(found), len(true)


def segment_hits(true: Sequence[tuple[float, float]], found: Sequence[tuple[float, float]]) -> tuple[int, int, int]:
    """Hits, segments with a detection and with a true event, of a class in a recording."""
    left, right = (
        {second for onset, offset in side for second in range(int(onset / SEGMENT), math.ceil(offset / SEGMENT))}
        for side in (true, found)
    )
    return len(left & right), len(right), len(left)


def folds(count: int, number: int, seed: int = 0) -> NDArray[np.int64]:
    """The fold of each recording, [count]: at random, of equal size."""
    return np.random.default_rng(seed).permutation(np.arange(count) % number)


def cross_validated(search: Search, number: int) -> list[PostProcessing]:
    """For each recording, the settings that were chosen without it and the others of its fold."""
    fold = folds(len(search.recordings), number)
    chosen = [search.best(fold != each) for each in range(number)]
    return [chosen[each] for each in fold]


def judged(
    recordings: Sequence[Labelled],
    settings: Sequence[PostProcessing],
    labels: Sequence[Label],
    thresholds: NDArray[np.float64],
) -> dict[str, Any]:
    """F1 of events, each recording with its own settings: by metric, the value and counts [recordings, classes, 3]."""
    detections = []
    for each, own in zip(recordings, settings, strict=True):
        events = events_of(each.analysed, own.columns(labels, thresholds))
        nothing = np.zeros(0, np.float32)
        edges = np.array([0.0, each.analysed.duration])
        detections.append(Detections(edges, np.zeros((1, len(labels)), np.float32), events, nothing, nothing > 0))
    truth = [each.truth for each in recordings]
    present = sorted({column for spans in truth for *_, column in spans})
    found = {}
    for name, count in (("event-f1", event_counts), ("segment-f1", segment_counts)):
        metrics, counts = count(detections, truth, present)
        found[name] = macro(metrics), counts
    return found


def gain(before: dict[str, Any], after: dict[str, Any], names: Sequence[str], replicates: int) -> dict[str, Any]:
    """F1 before and after, and the difference, each with its interval by bootstrap over recordings."""
    weights = bootstrap.resampling_weights(names, replicates)
    report = {}
    for metric in METRICS:
        (value, counts), (tuned, tuned_counts) = before[metric], after[metric]
        rows = [f1_of_counts(np.tensordot(weights, each, 1)).mean(axis=1) for each in (counts, tuned_counts)]
        report[metric] = {
            "model": Figure(value, bootstrap.interval(rows[0], value)).to_dict(),
            "tuned": Figure(tuned, bootstrap.interval(rows[1], tuned)).to_dict(),
            "gain": Figure(tuned - value, bootstrap.interval(rows[1] - rows[0], tuned - value, (-1, 1))).to_dict(),
        }
    return report


def toml_over(settings: PostProcessing, base: PostProcessing) -> str:
    """The settings as TOML that replaces those of ``base``: with defaults, too, where ``base`` has another value."""
    default = PostProcessing()
    back = [
        name
        for name in VALUES
        if getattr(settings, name) == getattr(default, name) != getattr(base, name)  # to_toml leaves defaults out
    ]
    lines = [f"{name} = {getattr(settings, name)!r}\n" for name in back]
    return "".join(lines) + settings.to_toml()
