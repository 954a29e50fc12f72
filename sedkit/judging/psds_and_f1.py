"""PSDS and F1 of sound event detection against strong labels, computed by sed_eval and sed_scores_eval.

=================  ====================================================================================================
segment F1         in segments of 1 s (Mesaros et al. 2016)
event F1           onset within 200 ms, offset within 200 ms or half the event (Mesaros et al. 2016)
PSDS1, PSDS2       DCASE task 4, over all thresholds (Bilen et al. 2020; Ebbers et al. 2022). PSDS1 rewards exact times
                   (DTC 0.7, GTC 0.7), PSDS2 the right class (DTC 0.1, GTC 0.1, CTTC 0.3). Both subtract the standard
                   deviation over classes from the mean, so they are low where many classes differ
=================  ====================================================================================================
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from sedkit.install import install_remedy

SEGMENT = 1.0  # seconds
COLLAR, OFFSET_SHARE = 0.2, 0.5  # seconds; share of the event's length
PSDS = {
    "PSDS1": {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0},
    "PSDS2": {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5},
}
INSTABILITY, MAX_EFPR = 1.0, 100.0  # PSDS: weight of the deviation over classes; effective false positives per hour

UNLISTED = float(np.finfo(np.float32).min)  # the score where a list of events has none; no threshold reaches it

Spans = list[tuple[float, float, int]]  # onset and offset in seconds, index of the class


class EvaluationError(SedkitError):
    """The evaluation data or libraries cannot be used."""


@dataclass(frozen=True)
class Detections:
    """A system's output for one recording.

    Attributes
    ----------
    edges : [n + 1] float64, seconds: score ``i`` applies from ``edges[i]`` to ``edges[i + 1]``; the last is the end.
    scores : [n, classes] float32, in [0, 1], or ``UNLISTED``. The stretches at or above a threshold are the events at
        that threshold.
    events : events at the system's own thresholds.
    tags : [classes] float32, scores of the whole recording.
    present : [classes] bool, whether the tags reach the system's own thresholds.
    """

    edges: NDArray[np.float64]
    scores: NDArray[np.float32]
    events: Spans
    tags: NDArray[np.float32]
    present: NDArray[np.bool_]

    @property
    def duration(self) -> float:
        return float(self.edges[-1])


def timeline_metrics(detections: Sequence[Detections], truth: Sequence[Spans]) -> dict[str, float]:
    """PSDS and F1 of a system, macro-averaged over the classes that have an event.

    Parameters
    ----------
    detections, truth : one entry per recording. Events of one class in ``truth`` must not overlap within a recording.

    Returns
    -------
    ``segment_f1`` and ``event_f1`` at the system's thresholds; ``best_segment_f1`` and ``best_event_f1`` at the
    threshold per class that is best on these recordings; ``PSDS1`` and ``PSDS2``; ``PSDS1_mean`` and ``PSDS2_mean``
    without the penalty for deviation over classes. All in [0, 1].

    Raises
    ------
    EvaluationError
        If the libraries are not installed, or fewer than two classes have events.
    """
    present = sorted({column for spans in truth for *_, column in spans})
    if len(present) < 2:
        raise EvaluationError("the strong labels hold events of fewer than two classes; PSDS needs two")
    given = PsdsInput.of(detections, truth, present)
    _, sed_scores_eval = libraries()
    best_segments = sed_scores_eval.segment_based.best_fscore(
        given.scores, given.truth, given.durations, segment_length=SEGMENT
    )
    best_events = sed_scores_eval.collar_based.best_fscore(
        given.scores, given.truth, onset_collar=COLLAR, offset_collar=COLLAR, offset_collar_rate=OFFSET_SHARE
    )
    metrics = {
        "segment_f1": macro(segment_counts(detections, truth, present)[0]),
        "event_f1": macro(event_counts(detections, truth, present)[0]),
        "best_segment_f1": float(best_segments[0]["macro_average"]),
        "best_event_f1": float(best_events[0]["macro_average"]),
    }
    for name in PSDS:
        value, by_class = psds(name, given, given.deltas(name))
        metrics |= {name: value, f"{name}_mean": float(np.mean(by_class))}
    return metrics


def segment_counts(
    detections: Sequence[Detections], truth: Sequence[Spans], present: Sequence[int]
) -> tuple[Any, NDArray[np.float64]]:
    """sed_eval's metrics of segments, and the counts in each recording: [recordings, classes, 3].

    The counts are hits, segments with a detection, and segments with an event.
    """
    sed_eval, _ = libraries()
    metrics = sed_eval.sound_event.SegmentBasedMetrics([str(column) for column in present], time_resolution=SEGMENT)
    return metrics, _counted(metrics, detections, truth, present, evaluated_length_seconds=True)


def event_counts(
    detections: Sequence[Detections], truth: Sequence[Spans], present: Sequence[int]
) -> tuple[Any, NDArray[np.float64]]:
    """sed_eval's metrics of events, and the counts in each recording, as for :func:`segment_counts`."""
    sed_eval, _ = libraries()
    metrics = sed_eval.sound_event.EventBasedMetrics(
        [str(column) for column in present], t_collar=COLLAR, percentage_of_length=OFFSET_SHARE
    )
    return metrics, _counted(metrics, detections, truth, present)


def _counted(
    metrics: Any,
    detections: Sequence[Detections],
    truth: Sequence[Spans],
    present: Sequence[int],
    evaluated_length_seconds: bool = False,
) -> NDArray[np.float64]:
    """Evaluate all recordings; return the counts in each."""

    def totals() -> NDArray[np.float64]:
        return np.array(
            [[metrics.class_wise[str(column)][key] for key in ("Ntp", "Nsys", "Nref")] for column in present]
        )

    sums = [totals()]
    for number, (detected, spans) in enumerate(zip(detections, truth, strict=True)):
        known = [span for span in detected.events if span[2] in present]
        lists = _sed_eval_events(f"{number}.wav", spans), _sed_eval_events(f"{number}.wav", known)
        metrics.evaluate(
            *lists, **({"evaluated_length_seconds": detected.duration} if evaluated_length_seconds else {})
        )
        sums.append(totals())
    return np.diff(sums, axis=0)


def f1_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 of counts [..., 3] as in :func:`segment_counts`; 0 where there is nothing."""
    return np.asarray(2 * counts[..., 0] / np.maximum(counts[..., 1] + counts[..., 2], 1))


# By class: the scores at which its counts change, the change of each count, and the recording of each.
Joined: TypeAlias = dict[str, tuple[NDArray[np.float64], dict[str, NDArray[np.float64]], NDArray[np.int64]]]


@dataclass(frozen=True)
class PsdsInput:
    """Scores, events and lengths as sed_scores_eval takes them, by name of the recording.

    Attributes
    ----------
    classes : names of the classes.
    """

    classes: tuple[str, ...]
    scores: dict[str, Any]
    truth: dict[str, list[tuple[float, float, str]]]
    durations: dict[str, float]

    @classmethod
    def of(cls, detections: Sequence[Detections], truth: Sequence[Spans], present: Sequence[int]) -> PsdsInput:
        """The input of these recordings and classes."""
        names = [f"{number}.wav" for number in range(len(detections))]
        events = [[(onset, offset, str(column)) for onset, offset, column in spans] for spans in truth]
        return cls(
            tuple(str(column) for column in present),
            {name: _score_frame(detected, present) for name, detected in zip(names, detections, strict=True)},
            dict(zip(names, events, strict=True)),
            {name: detected.duration for name, detected in zip(names, detections, strict=True)},
        )

    def deltas(self, name: str) -> dict[str, Any]:
        """What PSDS `name` needs of each recording. What is not listed is not detected at any threshold.

        The lowest score of a model is a threshold like any other, so one operating point detects everything, also where
        it is 0: PSDS is defined over all thresholds of the scores.
        """
        _, sed_scores_eval = libraries()
        criteria = {key: value for key, value in PSDS[name].items() if key != "alpha_ct"}
        found: dict[str, Any] = sed_scores_eval.intersection_based.intermediate_statistics_deltas(
            self.scores, self.truth, **criteria
        )
        return {
            recording: {
                column: (scores, {key: change * (scores > UNLISTED) for key, change in changes.items()})
                for column, (scores, changes) in by_class.items()
            }
            for recording, by_class in found.items()
        }

    def joined(self, deltas: dict[str, Any]) -> Joined:
        """The deltas of all recordings in one array each."""
        recordings = [deltas[name] for name in self.truth]
        joined: Joined = {}
        for name in self.classes:
            scores = [each[name][0] for each in recordings]
            keys = recordings[0][name][1]
            changes = {key: np.concatenate([each[name][1][key] for each in recordings]) for key in keys}
            joined[name] = np.concatenate(scores), changes, np.repeat(np.arange(len(scores)), list(map(len, scores)))
        return joined

    def drawn(self, joined: Joined, weights: NDArray[np.float64]) -> tuple[PsdsInput, dict[str, Any]]:
        """The input in which each recording counts as often as `weights` [recordings] says, as one long recording."""
        deltas = {
            name: (scores, {key: change * weights[recording] for key, change in changes.items()})
            for name, (scores, changes, recording) in joined.items()
        }
        events, end = list[tuple[float, float, str]](), 0.0
        for (name, spans), weight in zip(self.truth.items(), weights, strict=True):
            for _ in range(int(weight)):
                events += [(end + onset, end + offset, column) for onset, offset, column in spans]
                last = max([self.durations[name], *(offset for _, offset, _ in spans)])
                end += last + 1  # apart: events of a class must not touch
        duration = float(weights @ list(self.durations.values()))
        return PsdsInput(self.classes, {}, {"all": events}, {"all": duration}), {"all": deltas}

    def all_classes_in(self, weights: NDArray[np.float64]) -> bool:
        """Whether every class has an event in the recordings that these weights [recordings] draw."""
        drawn = [events for events, weight in zip(self.truth.values(), weights, strict=True) if weight]
        return {name for events in drawn for *_, name in events} == set(self.classes)


def psds(name: str, given: PsdsInput, deltas: dict[str, Any]) -> tuple[float, list[float]]:
    """PSDS `name`, and that of each class."""
    _, sed_scores_eval = libraries()
    value, by_class, *_ = sed_scores_eval.intersection_based.psds(
        None,
        given.truth,
        given.durations,
        deltas=deltas,
        **PSDS[name],
        alpha_st=INSTABILITY,
        max_efpr=MAX_EFPR,
    )
    return float(value), [float(by_class[column]) for column in given.classes]


def f1_scores(predicted: NDArray[np.bool_], targets: NDArray[np.floating]) -> tuple[float, float]:
    """Micro-averaged F1, and macro-averaged F1 over the classes with positives. Both arrays are [..., classes].

    Where a target is NaN, the class is unknown and does not count.
    """
    classes = predicted.shape[-1]
    predicted, targets = (predicted & ~np.isnan(targets)).reshape(-1, classes), targets.reshape(-1, classes)
    truth = targets > 0
    hits, sums = (predicted & truth).sum(0), predicted.sum(0) + truth.sum(0)
    positive = truth.any(0)
    return float(2 * hits.sum() / max(sums.sum(), 1)), float((2 * hits[positive] / sums[positive]).mean())


def spans(edges: NDArray[np.float64], scores: NDArray[np.float32], threshold: float) -> Spans:
    """Events of scores at or above a threshold. ``edges`` and ``scores`` as in :class:`Detections`."""
    events = []
    for column, present in enumerate((scores >= threshold).T):
        changes = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]])))
        events += [(float(edges[on]), float(edges[off]), column) for on, off in changes.reshape(-1, 2)]
    return events


def _score_frame(detected: Detections, classes: Sequence[int]) -> Any:
    """Scores as a DataFrame for sed_scores_eval. float32 makes it copy; it cannot use pandas 3's read-only arrays."""
    import pandas

    columns = {str(column): detected.scores[:, column].astype(np.float32) for column in classes}
    return pandas.DataFrame({"onset": detected.edges[:-1], "offset": detected.edges[1:], **columns})


def _sed_eval_events(clip: str, spans: Spans) -> list[dict[str, Any]]:
    """Events as sed_eval takes them."""
    return [
        {"file": clip, "event_onset": onset, "event_offset": offset, "event_label": str(column)}
        for onset, offset, column in spans
    ]


def macro(metrics: Any) -> float:
    """Mean of F1 over classes. A class that was never detected counts 0; sed_eval would leave it out."""
    values = [each["f_measure"]["f_measure"] for each in metrics.results_class_wise_metrics().values()]
    return float(np.mean([0.0 if math.isnan(value) else value for value in values]))


def libraries() -> tuple[Any, Any]:
    """sed_eval and sed_scores_eval.

    Raises
    ------
    EvaluationError
        If they are not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations in their dependencies
            import sed_eval
            import sed_scores_eval
    except ImportError as error:
        raise EvaluationError(f"needs {error.name}: {install_remedy('evaluation')}") from None
    return sed_eval, sed_scores_eval
