"""Segment scores of recordings, kept so that events can be found in them with any settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import WELS_NET, Geometry
from sedkit.judging.psds_and_f1 import Detections, Spans
from sedkit.timeline.detection import detect
from sedkit.timeline.edges import level_changes
from sedkit.timeline.settings import PER_CLASS, ColumnSettings
from sedkit.timeline.views import TagsView

LEVELS = np.concatenate([np.geomspace(0.001, 0.1, 41)[:-1], np.linspace(0.1, 1, 91)])  # thresholds to decode at


@dataclass(frozen=True)
class Analysed:
    """What a model says about one recording.

    Attributes
    ----------
    scores : segment scores, [segments, classes].
    changes : [segments + 1, 2], from :func:`sedkit.timeline.edges.level_changes`.
    duration : seconds.
    tags : scores of the whole recording, [classes].
    """

    scores: NDArray[np.float32]
    changes: NDArray[np.int64]
    duration: float
    tags: NDArray[np.float64]


class AnalysisView:
    """Collects segment scores (a :class:`sedkit.timeline.views.View`).

    Parameters
    ----------
    columns : of the classes to keep.
    tags : the view of their tags, all of them and without a threshold.
    names : of the classes.
    geometry : of the model.
    """

    def __init__(
        self, columns: Sequence[int], tags: TagsView, names: Sequence[str], geometry: Geometry = WELS_NET
    ) -> None:
        self.columns, self.tags, self.names, self.geometry = list(columns), tags, names, geometry
        self.scores: list[NDArray[np.float32]] = []
        self.changes: list[NDArray[np.int64]] = []

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        self.tags.add(samples, kept, scores)
        self.scores.append(scores[:, self.columns])
        self.changes.append(level_changes(samples, self.geometry)[kept])

    def finish(self, file: str, duration: float) -> Analysed:
        found = {tag.label: tag.score for tag in self.tags.finish(file, duration).tags}
        tags = np.array([found[name] for name in self.names])
        return Analysed(np.concatenate(self.scores), np.concatenate(self.changes), duration, tags)


def events_of(analysed: Analysed, settings: ColumnSettings) -> Spans:
    """The events of one recording with these settings, one set per class."""
    found = detect(analysed.scores, analysed.changes, analysed.duration, settings)
    return [(event.onset, event.offset, event.column) for event in found]


def detections_at_levels(analysed: Analysed, settings: ColumnSettings, present: NDArray[np.bool_]) -> Detections:
    """The events of one recording with these settings, and at all thresholds of ``LEVELS``, which PSDS needs.

    The score of a moment is the highest of the levels at which it lies in an event, or 0.

    Parameters
    ----------
    present : [classes], whether the tags reach the model's thresholds.
    """
    classes = analysed.scores.shape[1]
    found = list[tuple[float, float, int, float]]()
    for column in range(classes):
        repeated = column_of(settings, column, len(LEVELS), threshold=LEVELS)
        scores = np.repeat(analysed.scores[:, [column]], len(LEVELS), axis=1)
        events = detect(scores, analysed.changes, analysed.duration, repeated)
        found += [(event.onset, event.offset, column, LEVELS[event.column]) for event in events]
    times = [time for onset, offset, *_ in found for time in (onset, offset)]
    edges = np.unique(np.round([0.0, analysed.duration, *times], 6))
    levels = np.zeros((len(edges) - 1, classes), np.float32)
    for onset, offset, column, level in sorted(found, key=lambda each: each[3]):
        first, last = np.searchsorted(edges, np.round([onset, offset], 6))
        levels[first:last, column] = level
    return Detections(edges, levels, events_of(analysed, settings), analysed.tags.astype(np.float32), present)


def column_of(settings: ColumnSettings, column: int, times: int, **vectors: NDArray[np.float64]) -> ColumnSettings:
    """The settings of one class, repeated, with some of them replaced by vectors [times].

    ``max_classes`` is left out, since the columns are not different classes.
    """
    own: dict[str, Any] = {name: np.full(times, getattr(settings, name)[column]) for name in PER_CLASS}
    return replace(settings, shared=settings.shared.replace(max_classes=None), **(own | vectors))
