"""Figures of tags and events, over all classes and per class, with bootstrap intervals.

=====================  ================================================================================================
mAP, mAUC, d_prime     tags of whole recordings, as in the AudioSet literature (:mod:`sedkit.metrics`)
segment_f1, event_f1   events, by sed_eval; means over classes (:mod:`sedkit.judging.psds_and_f1` has the criteria)
PSDS1, PSDS2           events over all thresholds, by sed_scores_eval
=====================  ================================================================================================

Per class, the same with AP and AUC in place of their means, and with precision and recall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.judging import bootstrap
from sedkit.judging.psds_and_f1 import (
    Detections,
    PsdsInput,
    Spans,
    event_counts,
    f1_of_counts,
    macro,
    psds,
    segment_counts,
)
from sedkit.metrics import d_prime, summary

PSDS_REPLICATES = 100  # each costs some 10 ms; the other metrics are vectorised over replicates
UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % interval by bootstrap over recordings, None if that is unknown. NaN where undefined."""

    value: float
    interval: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """``{"value", "interval"}``, None where undefined."""
        bounds = self.interval and [_finite(bound) for bound in self.interval]
        return {"value": _finite(self.value), "interval": bounds}


@dataclass(frozen=True)
class Figures:
    """Figures by name.

    Attributes
    ----------
    overall : one figure each.
    by_class : one figure per class, in the order of the labels.
    """

    overall: dict[str, Figure] = field(default_factory=dict)
    by_class: dict[str, list[Figure]] = field(default_factory=dict)

    def __or__(self, other: Figures) -> Figures:
        return Figures(self.overall | other.overall, self.by_class | other.by_class)


def tag_figures(
    targets: NDArray[np.bool_], scores: NDArray[np.floating], labels: Sequence[Label], weights: NDArray[np.float64]
) -> Figures:
    """Figures of tags.

    Parameters
    ----------
    targets, scores : [recordings, classes]; every class has a recording with it.
    weights : [replicates, recordings], from :func:`sedkit.judging.bootstrap.resampling_weights`; no replicates for no
        intervals.
    """
    measured = summary(targets, scores, labels)
    ap, auc = (function(targets, scores, weights) for function in (bootstrap.class_ap, bootstrap.class_auc))
    mean_auc = bootstrap.mean_over_classes(auc)
    overall = {
        "mAP": _figure(measured.mean_ap, bootstrap.mean_over_classes(ap)),
        "mAUC": _figure(measured.mean_auc, mean_auc),
        "d_prime": _figure(measured.mean_d_prime, _d_primes(mean_auc), UNBOUNDED),
    }
    by_class = {
        "AP": [_figure(*pair) for pair in zip(measured.ap, ap, strict=True)],
        "AUC": [_figure(*pair) for pair in zip(measured.auc, auc, strict=True)],
        "d_prime": [
            _figure(value, _d_primes(row), UNBOUNDED) for value, row in zip(measured.d_prime, auc, strict=True)
        ],
    }
    return Figures(overall, by_class)


def event_figures(
    detections: Sequence[Detections], truth: Sequence[Spans], classes: int, weights: NDArray[np.float64]
) -> Figures:
    """Figures of events.

    Parameters
    ----------
    detections, truth : one entry per recording. Events of one class in ``truth`` must not overlap within a recording.
    classes : number of classes; those without an event in ``truth`` have no figures and do not count in the means.
    weights : as for :func:`tag_figures`.
    """
    present = sorted({column for spans in truth for *_, column in spans})
    figures = Figures()
    for name, count in (("segment", segment_counts), ("event", event_counts)):
        metrics, counts = count(detections, truth, present)
        resampled = f1_of_counts(np.tensordot(weights, counts, 1))  # [replicates, classes]
        values = metrics.results_class_wise_metrics()
        single = [values[str(column)]["f_measure"] for column in present]
        f1 = [_number(each["f_measure"]) for each in single]
        micro = f1_of_counts(np.tensordot(weights, counts.sum(1, keepdims=True), 1))[:, 0]
        overall = {
            f"{name}_f1": _figure(macro(metrics), resampled.mean(1)),
            f"{name}_f1_micro": _figure(_number(metrics.overall_f_measure()["f_measure"]), micro),
        }
        by_class = {
            f"{name}_f1": [_figure(*pair) for pair in zip(f1, resampled.T, strict=True)],
            f"{name}_precision": [Figure(_number(each["precision"])) for each in single],
            f"{name}_recall": [Figure(_number(each["recall"])) for each in single],
        }
        figures |= Figures(overall, {key: _spread(row, present, classes) for key, row in by_class.items()})
    if len(present) > 1:
        figures |= _psds_figures(detections, truth, present, classes, weights[:PSDS_REPLICATES])
    return figures


def _psds_figures(
    detections: Sequence[Detections],
    truth: Sequence[Spans],
    present: list[int],
    classes: int,
    weights: NDArray[np.float64],
) -> Figures:
    figures = Figures()
    given = PsdsInput.of(detections, truth, present)
    for name in ("PSDS1", "PSDS2"):
        deltas = given.deltas(name)
        value, single = psds(name, given, deltas)
        joined = given.joined(deltas)
        replicates = [psds(name, *given.drawn(joined, row)) for row in weights if given.all_classes_in(row)]
        overall = np.array([each for each, _ in replicates])
        by_class = np.array([each for _, each in replicates]).reshape(-1, len(present))
        row = [_figure(*pair) for pair in zip(single, by_class.T, strict=True)]
        figures |= Figures({name: _figure(value, overall)}, {name: _spread(row, present, classes)})
    return figures


def _spread(row: list[Figure], present: list[int], classes: int) -> list[Figure]:
    """The figures of the present classes, and undefined ones for the others."""
    found = dict(zip(present, row, strict=True))
    return [found.get(column, Figure(math.nan)) for column in range(classes)]


def _figure(value: float, replicates: NDArray[np.float64], limits: tuple[float, float] = (0.0, 1.0)) -> Figure:
    return Figure(float(value), bootstrap.interval(replicates, value, limits))


def _d_primes(aucs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([d_prime(float(value)) for value in aucs.clip(0, 1)])


def _number(value: float) -> float:
    """sed_eval's figure; it is NaN where nothing was detected, which counts as 0."""
    return 0.0 if math.isnan(value) else float(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
