"""Views of segment scores: what a recording's scores are turned into, while they come.

A view belongs to one recording. It is handed the recording's segment scores in order, in chunks of any
length, and at the end makes its result: the tags of the whole, or the timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit import timeline
from sedkit.contract import Label
from sedkit.results import Event, Second, Tag, Tagging, Timeline

Result = TypeVar("Result", covariant=True)


class View(Protocol[Result]):
    """What :func:`sedkit.pipeline.analyse` and :class:`sedkit.tagger.Tagger` feed."""

    def add(self, scores: NDArray[np.float32]) -> None:
        """The next scores, [k, classes] of all of the model's classes; k may be 0."""

    def finish(self, file: str, duration: float) -> Result:
        """The result of a recording of `duration` seconds, whose scores have all been added."""


class TagsView:
    """A recording's tags: a class's score is the mean of its segment scores (the model's layer P).

    Parameters
    ----------
    labels : of the classes to look for.
    columns : where they stand in the scores.
    top_k : how many tags at most; None for all.
    floor : lowest score of a tag.
    """

    def __init__(self, labels: Sequence[Label], columns: Sequence[int], top_k: int | None, floor: float) -> None:
        self.labels, self.columns, self.top_k, self.floor = labels, columns, top_k, floor
        self.total = np.zeros(len(columns))
        self.segments = 0

    def add(self, scores: NDArray[np.float32]) -> None:
        self.total += scores[:, self.columns].sum(axis=0, dtype=np.float64)
        self.segments += len(scores)

    def finish(self, file: str, duration: float) -> Tagging:
        tags = present_tags(self.total / self.segments, self.labels, self.floor)
        return Tagging(file, duration, tags[: self.top_k])


class TimelineView:
    """A recording's grid and events (sedkit.timeline).

    Parameters
    ----------
    labels : of the classes to look for.
    columns : where they stand in the scores.
    thresholds : one a class.
    resolution : seconds a cell, or ``"native"``.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        columns: Sequence[int],
        thresholds: NDArray[np.float64],
        resolution: float | Literal["native"],
    ) -> None:
        self.labels, self.columns, self.thresholds, self.resolution = tuple(labels), columns, thresholds, resolution
        self.chunks: list[NDArray[np.float32]] = []

    def add(self, scores: NDArray[np.float32]) -> None:
        self.chunks.append(scores[:, self.columns])

    def finish(self, file: str, duration: float) -> Timeline:
        segments = np.concatenate(self.chunks)
        if self.resolution == "native":
            edges, cells = timeline.tile_edges(len(segments), duration), segments
        else:
            edges = timeline.cell_edges(duration, self.resolution)
            cells = timeline.pool(segments, edges)
        seconds = tuple(
            Second(float(start), float(end), present_tags(row, self.labels, self.thresholds))
            for start, end, row in zip(edges[:-1], edges[1:], cells, strict=True)
        )
        events = [
            Event(run.onset, run.offset, self.labels[run.column].name, self.labels[run.column].mid, run.score)
            for run in timeline.find_runs(segments, self.thresholds, duration)
        ]
        events.sort(key=lambda event: (event.onset, event.label))
        return Timeline(file, duration, self.resolution, seconds, tuple(events), cells, self.labels)


def present_tags(
    scores: NDArray[np.floating], labels: Sequence[Label], thresholds: float | NDArray[np.float64]
) -> tuple[Tag, ...]:
    """Tags of the classes at or above their thresholds, by score, then by label."""
    present = np.flatnonzero(scores >= thresholds).tolist()
    tags = [Tag(labels[column].name, labels[column].mid, float(scores[column])) for column in present]
    return tuple(sorted(tags, key=lambda tag: (-tag.score, tag.label)))
