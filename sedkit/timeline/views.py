"""Views: they collect the segment scores of one recording and make its result: here tags, in ``timelines`` a timeline.

A view belongs to one recording. It receives the pieces of the recording, each with its segment scores, in order. Its
``finish`` returns the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.results import Tag, Tagging
from sedkit.selection import Selection, explained
from sedkit.timeline.calibration import Calibration

Result = TypeVar("Result", covariant=True)

MIN_WEIGHT_SUM = 1e-30  # avoids division by 0 if all segments are silent


class View(Protocol[Result]):
    """The interface that :func:`sedkit.inference.pipeline.analyse` and :class:`sedkit.tagger.Tagger` use."""

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        """Add the next piece of the recording with its segment scores.

        Parameters
        ----------
        samples : [samples] at the model's sample rate (:func:`sedkit.inference.model.pieces`).
        kept : the segments of the piece that are not context.
        scores : of these segments, [k, classes] or, with weights, [k, 2 * classes]; k may be 0.
        """

    def finish(self, file: str, duration: float) -> Result:
        """Return the result of a recording of `duration` seconds, after all its scores were added."""


class TagsView:
    """The tags of a recording.

    The score of a class is the weighted mean of its segment scores (the model's layer P). For recordings of more than
    `span` segments, it is the maximum over a sliding window of `span` segments. Silent segments are left out. The score
    is then calibrated.

    Parameters
    ----------
    labels : the classes to report.
    columns : the columns of the scores that they need.
    weights : the columns of their weights in the scores; None for equal weights.
    span : length of the sliding window, in segments: that of the clips that the weak labels describe.
    top_k : maximum number of tags; None for all.
    thresholds : lowest score of a tag; one number, or one per class.
    calibration : calibration of these columns; None for none.
    selection : how the classes' scores follow from those of the columns, and which explain others; None if each score
        is that of its column and no class explains another.
    present : scores at which classes are present and can explain others, [classes]; needed with a selection.
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
        selection: Selection | None = None,
        present: NDArray[np.float64] | None = None,
    ) -> None:
        self.labels, self.columns, self.weights, self.span, self.top_k = labels, columns, weights, span, top_k
        self.thresholds, self.calibration = thresholds, calibration
        self.selection, self.present = selection, present
        self.rows: NDArray[np.float32] | None = (
            None  # weighted scores, then weights, of the latest segments: fewer than `span`
        )
        self.highest: NDArray[np.float64] | None = None  # maximum over the windows so far

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        self.add_scores(scores)

    def add_scores(self, scores: NDArray[np.float32]) -> None:
        """Add the scores alone: tags do not depend on the samples."""
        sounding = scores[scores.any(axis=1)]  # silent segments score 0 for every class
        chosen = sounding[:, self.columns]
        weights = np.ones((len(sounding), 1), np.float32) if self.weights is None else sounding[:, self.weights]
        rows = np.hstack([chosen * weights, weights])
        self.rows = rows if self.rows is None else np.concatenate([self.rows, rows])
        if (windows := len(self.rows) - self.span + 1) > 0:
            sums = self.rows[:windows].astype(np.float64)
            for offset in range(1, self.span):  # a fixed order: the sums do not depend on the chunks
                sums += self.rows[offset : offset + windows]
            highest = self._means(sums).max(axis=0)
            self.highest = highest if self.highest is None else np.maximum(self.highest, highest)
            self.rows = self.rows[windows:].copy()

    def means(self) -> NDArray[np.float64]:
        """Scores of the classes so far, [classes], not calibrated; 0 if all segments are silent."""
        if self.highest is not None:
            return self.highest
        if self.rows is None:
            return np.zeros(len(self.columns))
        return self._means(self.rows.sum(axis=0, dtype=np.float64))

    def _means(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted means from sums of weighted scores and, in the columns after them, sums of weights."""
        classes = len(self.columns)
        return sums[..., :classes] / np.maximum(sums[..., classes:], MIN_WEIGHT_SUM)

    def finish(self, file: str, duration: float) -> Tagging:
        scores: NDArray[np.floating] = self.calibration(self.means()) if self.calibration else self.means()
        hidden = np.zeros(len(self.labels), bool)
        if self.selection is not None and self.present is not None:
            scores = self.selection.highest(scores)
            hidden = explained(scores, np.maximum(self.present, self.thresholds), self.selection.below)
        tags = present_tags(scores, self.labels, self.thresholds, hidden)
        self.rows = None  # free memory: the pipeline may keep a finished view for long
        return Tagging(file, duration, tags[: self.top_k])


class RolledUpView(Generic[Result]):
    """A view that gives another one the scores of the selected classes instead of those of the model.

    Parameters
    ----------
    view : receives scores [k, classes of the selection].
    selection : the classes.
    """

    def __init__(self, view: View[Result], selection: Selection) -> None:
        self.view, self.selection = view, selection

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        self.view.add(samples, kept, self.selection.highest(scores[:, self.selection.columns]))

    def finish(self, file: str, duration: float) -> Result:
        return self.view.finish(file, duration)


def present_tags(
    scores: NDArray[np.floating],
    labels: Sequence[Label],
    thresholds: float | NDArray[np.float64],
    hidden: NDArray[np.bool_],
) -> tuple[Tag, ...]:
    """Tags of the classes that reach their thresholds and are not hidden, sorted by descending score, then by label."""
    present = np.flatnonzero((scores >= thresholds) & ~hidden).tolist()
    tags = [Tag(labels[column].name, labels[column].mid, float(scores[column])) for column in present]
    return tuple(sorted(tags, key=lambda tag: (-tag.score, tag.label)))
