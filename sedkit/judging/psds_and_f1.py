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
from typing import Any

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

Spans = list[tuple[float, float, int]]  # onset and offset in seconds, index of the class


class EvaluationError(SedkitError):
    """The evaluation data or libraries cannot be used."""


@dataclass(frozen=True)
class Detections:
    """A system's output for one recording.

    Attributes
    ----------
    edges : [n + 1] float64, seconds: score ``i`` applies from ``edges[i]`` to ``edges[i + 1]``; the last is the end.
    scores : [n, classes] float32, in [0, 1]. The stretches at or above a threshold are the events at that threshold.
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
    sed_eval, sed_scores_eval = _libraries()
    names = [str(column) for column in present]
    clips = [f"{number}.wav" for number in range(len(detections))]
    segments = sed_eval.sound_event.SegmentBasedMetrics(names, time_resolution=SEGMENT)
    events = sed_eval.sound_event.EventBasedMetrics(names, t_collar=COLLAR, percentage_of_length=OFFSET_SHARE)
    for clip, detected, spans in zip(clips, detections, truth, strict=True):
        known = [span for span in detected.events if span[2] in present]
        reference_and_estimate = _sed_eval_events(clip, spans), _sed_eval_events(clip, known)
        segments.evaluate(*reference_and_estimate, evaluated_length_seconds=detected.duration)
        events.evaluate(*reference_and_estimate)
    scores = {clip: _score_frame(detected, present) for clip, detected in zip(clips, detections, strict=True)}
    strong = {
        clip: [(onset, offset, str(column)) for onset, offset, column in spans]
        for clip, spans in zip(clips, truth, strict=True)
    }
    durations = {clip: detected.duration for clip, detected in zip(clips, detections, strict=True)}
    best_segments = sed_scores_eval.segment_based.best_fscore(scores, strong, durations, segment_length=SEGMENT)
    best_events = sed_scores_eval.collar_based.best_fscore(
        scores, strong, onset_collar=COLLAR, offset_collar=COLLAR, offset_collar_rate=OFFSET_SHARE
    )
    metrics = {
        "segment_f1": _macro(segments),
        "event_f1": _macro(events),
        "best_segment_f1": float(best_segments[0]["macro_average"]),
        "best_event_f1": float(best_events[0]["macro_average"]),
    }
    for name, criteria in PSDS.items():
        psds = sed_scores_eval.intersection_based.psds(
            scores, strong, durations, **criteria, alpha_st=INSTABILITY, max_efpr=MAX_EFPR
        )
        metrics |= {name: float(psds[0]), f"{name}_mean": float(np.mean(list(psds[1].values())))}
    return metrics


def f1_scores(predicted: NDArray[np.bool_], targets: NDArray[np.floating]) -> tuple[float, float]:
    """Micro-averaged F1, and macro-averaged F1 over the classes with positives. Both arrays are [..., classes]."""
    classes = predicted.shape[-1]
    predicted, truth = predicted.reshape(-1, classes), targets.reshape(-1, classes) > 0
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


def _score_frame(detected: Detections, classes: list[int]) -> Any:
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


def _macro(metrics: Any) -> float:
    """Mean of F1 over classes. A class that was never detected counts 0; sed_eval would leave it out."""
    values = [each["f_measure"]["f_measure"] for each in metrics.results_class_wise_metrics().values()]
    return float(np.mean([0.0 if math.isnan(value) else value for value in values]))


def _libraries() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations in their dependencies
            import sed_eval
            import sed_scores_eval
    except ImportError as error:
        raise EvaluationError(f"needs {error.name}: {install_remedy('evaluation')}") from None
    return sed_eval, sed_scores_eval
