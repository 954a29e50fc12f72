"""Views of segment scores: what a recording's scores are turned into, while they come.

A view belongs to one recording. It is handed the recording's pieces and their segment scores in order, the scores in
chunks of any length, and at the end makes its result: the tags of the whole, or the timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.results import Event, Second, Tag, Tagging, Timeline
from sedkit.timeline.calibration import Calibration
from sedkit.timeline.edges import tile_edges
from sedkit.timeline.events import Cells, Grid, Resolution, Run, Runs

Result = TypeVar("Result", covariant=True)

LEAST = 1e-30  # of the sum of weights, which is 0 if nothing is heard


class View(Protocol[Result]):
    """What :func:`sedkit.inference.pipeline.analyse` and :class:`sedkit.tagger.Tagger` feed."""

    def listen(self, samples: NDArray[np.float32], kept: slice) -> None:
        """The next piece of the recording (sedkit.inference.model.pieces), before the scores of its segments are added."""

    def add(self, scores: NDArray[np.float32]) -> None:
        """The next scores, [k, classes] of all of the model's classes, with or without weights; k may be 0."""

    def finish(self, file: str, duration: float) -> Result:
        """The result of a recording of `duration` seconds, whose scores have all been added."""


class TagsView:
    """A recording's tags: a class's score is the mean of neighbouring segment scores (the model's layer P), calibrated.

    The mean is that of as many segments as the clips had whose labels the model learnt; of a longer recording, which
    says more than one clip can, the highest such mean counts. Silent segments are left out: that nothing is heard for
    a while says nothing of the rest.

    Parameters
    ----------
    labels : of the classes to look for.
    columns : where they stand in the scores.
    weights : where the weights of their segments stand; None if all count alike.
    span : segments of a mean.
    top_k : how many tags at most; None for all.
    thresholds : lowest score of a tag, of all classes or one a class.
    calibration : of these classes; None leaves the means as they are.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        columns: Sequence[int],
        weights: Sequence[int] | None,
        span: int,
        top_k: int | None,
        thresholds: float | NDArray[np.float64],
        calibration: Calibration | None = None,
    ) -> None:
        self.labels, self.columns, self.weights, self.span, self.top_k = labels, columns, weights, span, top_k
        self.thresholds, self.calibration = thresholds, calibration
        self.rows: NDArray[np.float32] | None = None  # scores and weights of the latest segments, less than a span
        self.highest: NDArray[np.float64] | None = None  # of the means of whole spans

    def listen(self, samples: NDArray[np.float32], kept: slice) -> None:
        """Tags need the scores alone."""

    def add(self, scores: NDArray[np.float32]) -> None:
        heard = scores[scores.any(axis=1)]  # a silent segment scores 0 for every class
        chosen = heard[:, self.columns]
        weights = np.ones((len(heard), 1), np.float32) if self.weights is None else heard[:, self.weights]
        rows = np.hstack([chosen * weights, weights])
        self.rows = rows if self.rows is None else np.concatenate([self.rows, rows])
        if (spans := len(self.rows) - self.span + 1) > 0:
            sums = self.rows[:spans].astype(np.float64)
            for place in range(1, self.span):  # in this order, in whatever chunks scores come
                sums += self.rows[place : place + spans]
            highest = self._means(sums).max(axis=0)
            self.highest = highest if self.highest is None else np.maximum(self.highest, highest)
            self.rows = self.rows[spans:].copy()

    def means(self) -> NDArray[np.float64]:
        """Scores of the classes so far, [classes], not calibrated."""
        if self.highest is not None:
            return self.highest
        if self.rows is None:
            return np.zeros(len(self.columns))
        return self._means(self.rows.sum(axis=0, dtype=np.float64))

    def _means(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of sums of weighted scores, and of weights, which stand behind them; of nothing, 0."""
        classes = len(self.columns)
        return sums[..., :classes] / np.maximum(sums[..., classes:], LEAST)

    def finish(self, file: str, duration: float) -> Tagging:
        scores = self.calibration(self.means()) if self.calibration else self.means()
        tags = present_tags(scores, self.labels, self.thresholds)
        self.rows = None  # a finished view may be kept for long, until recordings before it are done
        return Tagging(file, duration, tags[: self.top_k])


class TimelineView:
    """A recording's grid and events (sedkit.timeline.events), which close as scores come.

    Parameters
    ----------
    labels : of the classes to look for.
    columns : where they stand in the scores.
    thresholds : one a class.
    resolution : seconds a cell, or ``"native"``.
    scores : whether the result is to hold the scores of all cells and classes.

    Raises
    ------
    ArgumentError
        If `resolution` is none.
    """

    def __init__(
        self,
        labels: Sequence[Label],
        columns: Sequence[int],
        thresholds: NDArray[np.float64],
        resolution: Resolution,
        scores: bool = False,
    ) -> None:
        self.live = LiveTimeline(labels, columns, thresholds, resolution)
        self.seconds: list[Second] = []
        self.events: list[Event] = []
        self.scores: list[NDArray[np.float32]] | None = [] if scores else None

    def listen(self, samples: NDArray[np.float32], kept: slice) -> None:
        self.live.listen(samples, kept)

    def add(self, scores: NDArray[np.float32]) -> None:
        self._keep(*self.live.add(scores))

    def finish(self, file: str, duration: float) -> Timeline:
        self._keep(*self.live.finish(duration))
        events = tuple(sorted(self.events, key=lambda event: (event.onset, event.label)))
        scores = None if self.scores is None else np.concatenate(self.scores)
        return Timeline(
            file, duration, self.live.grid.resolution, tuple(self.seconds), events, scores, self.live.labels
        )

    def _keep(self, seconds: list[Second], events: list[Event], scores: NDArray[np.float32]) -> None:
        self.seconds += seconds
        self.events += events
        if self.scores is not None:
            self.scores.append(scores)


class LiveTimeline:
    """A timeline that is handed out while it grows. Parameters as of :class:`TimelineView`."""

    def __init__(
        self,
        labels: Sequence[Label],
        columns: Sequence[int],
        thresholds: NDArray[np.float64],
        resolution: Resolution,
    ) -> None:
        self.labels, self.columns, self.thresholds = tuple(labels), columns, thresholds
        self.grid, self.runs = Grid(resolution, len(columns)), Runs(thresholds)
        self.edges = np.zeros((0, 2), np.int64)  # of tiles whose scores are still to come

    def listen(self, samples: NDArray[np.float32], kept: slice) -> None:
        """The next piece of the recording; see :class:`View`."""
        self.edges = np.concatenate([self.edges, tile_edges(samples)[kept]])

    def add(self, scores: NDArray[np.float32], lasting: float = 0.0) -> Growth:
        """What becomes certain with the next scores, [k, classes] of all of the model's classes.

        Parameters
        ----------
        lasting : seconds that the recording is known to last; see :meth:`sedkit.timeline.events.Grid.add`.
        """
        chosen, edges = scores[:, self.columns], self.edges[: len(scores)]
        self.edges = self.edges[len(scores) :]
        return self._growth(self.grid.add(chosen, lasting), self.runs.add(chosen, edges))

    def finish(self, duration: float) -> Growth:
        """The rest: the last cells, and the events that end with the recording."""
        return self._growth(self.grid.finish(duration), self.runs.finish(duration, int(self.edges[-1, 1])))

    def _growth(self, cells: Cells, runs: list[Run]) -> Growth:
        edges = cells.edges.tolist()
        seconds = [
            Second(start, end, present_tags(row, self.labels, self.thresholds))
            for start, end, row in zip(edges[:-1], edges[1:], cells.scores, strict=True)
        ]
        events = [
            Event(run.onset, run.offset, self.labels[run.column].name, self.labels[run.column].mid, run.score)
            for run in runs
        ]
        return Growth(seconds, events, cells.scores)


class Growth(NamedTuple):
    """Cells of the grid, in order; events, as they become certain; the scores of those cells, [n, classes]."""

    seconds: list[Second]
    events: list[Event]
    scores: NDArray[np.float32]

    def in_order(self) -> list[Second | Event]:
        """Cells and events by the time at which they end; a cell comes before the events that end with it."""
        return sorted([*self.seconds, *self.events], key=_end)


def _end(found: Second | Event) -> float:
    return found.end if isinstance(found, Second) else found.offset


def present_tags(
    scores: NDArray[np.floating], labels: Sequence[Label], thresholds: float | NDArray[np.float64]
) -> tuple[Tag, ...]:
    """Tags of the classes at or above their thresholds, by score, then by label."""
    present = np.flatnonzero(scores >= thresholds).tolist()
    tags = [Tag(labels[column].name, labels[column].mid, float(scores[column])) for column in present]
    return tuple(sorted(tags, key=lambda tag: (-tag.score, tag.label)))
