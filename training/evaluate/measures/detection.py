"""How well sounds are found in time, on strong labels, by the libraries sed_eval and sed_scores_eval.

=================  ====================================================================================================
segment F1         in segments of 1 s (Mesaros et al. 2016)
event F1           onsets within 200 ms, offsets within 200 ms or half the event (Mesaros et al. 2016)
PSDS1, PSDS2       of DCASE task 4, over all thresholds (Bilen et al. 2020; Ebbers et al. 2022): PSDS1 asks for exact
                   times (DTC 0.7, GTC 0.7), PSDS2 for the right class (DTC 0.1, GTC 0.1, CTTC 0.3). Both take the
                   deviation between classes off the mean over classes, which leaves little where there are many
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

SEGMENT = 1.0  # seconds
COLLAR, SHARE = 0.2, 0.5  # seconds; of the length of an event
PSDS = {
    "PSDS1": {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0},
    "PSDS2": {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "cttc_threshold": 0.3, "alpha_ct": 0.5},
}
INSTABILITY, WORST = 1.0, 100.0  # PSDS: weight of the deviation between classes; false alarms an hour

Spans = list[tuple[float, float, int]]  # onset and offset in seconds, class


class EvaluationError(SedkitError):
    """Timelines cannot be evaluated."""


@dataclass(frozen=True)
class Heard:
    """What a system hears in one recording.

    Attributes
    ----------
    edges : [n + 1] float64, seconds: score ``i`` holds from ``edges[i]`` to ``edges[i + 1]``; the last is the end.
    scores : [n, classes] float32, in [0, 1]: what reaches a threshold are the system's events at that threshold.
    events : at the system's own thresholds.
    tags : [classes] float32, scores of the whole recording.
    present : [classes] bool, whether these reach the system's own thresholds.
    """

    edges: NDArray[np.float64]
    scores: NDArray[np.float32]
    events: Spans
    tags: NDArray[np.float32]
    present: NDArray[np.bool_]

    @property
    def duration(self) -> float:
        return float(self.edges[-1])


def quality(heard: Sequence[Heard], truth: Sequence[Spans]) -> dict[str, float]:
    """Metrics of a system's timelines, over the classes of which there is an event, each class counting the same.

    Parameters
    ----------
    heard, truth : one a recording; no two events of one class in ``truth`` overlap in a recording.

    Returns
    -------
    ``segment_f1`` and ``event_f1`` at the system's thresholds; ``best_segment_f1`` and ``best_event_f1`` at the
    threshold of each class that is best on these very recordings; ``PSDS1``, ``PSDS2``, and the same as a plain mean
    over classes, ``PSDS1_mean``, ``PSDS2_mean``. All in [0, 1].

    Raises
    ------
    EvaluationError
        If the libraries are not installed, or there are events of less than two classes.
    """
    present = sorted({place for spans in truth for *_, place in spans})
    if len(present) < 2:
        raise EvaluationError("the strong labels hold events of less than two classes")
    sed_eval, sed_scores_eval = _libraries()
    names = [str(place) for place in present]
    keep = [[span for span in found.events if span[2] in present] for found in heard]
    clips = [f"{number}.wav" for number in range(len(heard))]
    segments = sed_eval.sound_event.SegmentBasedMetrics(names, time_resolution=SEGMENT)
    events = sed_eval.sound_event.EventBasedMetrics(names, t_collar=COLLAR, percentage_of_length=SHARE)
    for clip, found, spans, mine in zip(clips, heard, truth, keep, strict=True):
        both = _listed(clip, spans), _listed(clip, mine)
        segments.evaluate(*both, evaluated_length_seconds=found.duration)
        events.evaluate(*both)
    scores = {clip: _frame(found, present) for clip, found in zip(clips, heard, strict=True)}
    strong = {
        clip: [(onset, offset, str(place)) for onset, offset, place in spans]
        for clip, spans in zip(clips, truth, strict=True)
    }
    lasting = {clip: found.duration for clip, found in zip(clips, heard, strict=True)}
    best_segments = sed_scores_eval.segment_based.best_fscore(scores, strong, lasting, segment_length=SEGMENT)
    best_events = sed_scores_eval.collar_based.best_fscore(
        scores, strong, onset_collar=COLLAR, offset_collar=COLLAR, offset_collar_rate=SHARE
    )
    found = {
        "segment_f1": _macro(segments),
        "event_f1": _macro(events),
        "best_segment_f1": float(best_segments[0]["macro_average"]),
        "best_event_f1": float(best_events[0]["macro_average"]),
    }
    for name, how in PSDS.items():
        psds = sed_scores_eval.intersection_based.psds(
            scores, strong, lasting, **how, alpha_st=INSTABILITY, max_efpr=WORST
        )
        found |= {name: float(psds[0]), f"{name}_mean": float(np.mean(list(psds[1].values())))}
    return found


def spans(edges: NDArray[np.float64], scores: NDArray[np.float32], threshold: float) -> Spans:
    """Stretches of scores at or above a threshold, which hold between ``edges``."""
    found = []
    for place, present in enumerate((scores >= threshold).T):
        changes = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]])))
        found += [(float(edges[on]), float(edges[off]), place) for on, off in changes.reshape(-1, 2)]
    return found


def _frame(found: Heard, classes: list[int]) -> Any:
    """As sed_scores_eval takes scores: float32, of which it makes a copy; it cannot use pandas 3's read-only arrays."""
    import pandas

    columns = {str(place): found.scores[:, place].astype(np.float32) for place in classes}
    return pandas.DataFrame({"onset": found.edges[:-1], "offset": found.edges[1:], **columns})


def _listed(clip: str, spans: Spans) -> list[dict[str, Any]]:
    return [
        {"file": clip, "event_onset": onset, "event_offset": offset, "event_label": str(place)}
        for onset, offset, place in spans
    ]


def _macro(metrics: Any) -> float:
    """Mean of F1 over classes; a class that was never found counts 0, where sed_eval leaves it out."""
    values = [each["f_measure"]["f_measure"] for each in metrics.results_class_wise_metrics().values()]
    return float(np.mean([0.0 if math.isnan(value) else value for value in values]))


def _libraries() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old ways in what they import
            import sed_eval
            import sed_scores_eval
    except ImportError as error:
        raise EvaluationError(f"needs {error.name}: pip install 'sedkit[evaluation]'") from None
    return sed_eval, sed_scores_eval
