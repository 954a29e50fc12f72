"""A model as a system to judge: its results for recordings, in the classes of a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.judging.analysis import Analysed, AnalysisView, detections_at_levels
from sedkit.judging.psds_and_f1 import Detections
from sedkit.judging.trial import some
from sedkit.tagger import Tagger
from sedkit.timeline.settings import ColumnSettings, PostProcessing


class JudgedModel:
    """A model, with the classes that it shares with a reference.

    Parameters
    ----------
    tagger : the model.
    labels : the classes of the reference.

    Attributes
    ----------
    labels : those that the model has.
    missing : those that it lacks.

    Raises
    ------
    ArgumentError
        If it has none of them.
    """

    def __init__(self, tagger: Tagger, labels: Sequence[Label]) -> None:
        self.tagger = tagger
        column = {key(label): number for number, label in enumerate(tagger.labels)}
        self.labels = tuple(label for label in labels if key(label) in column)
        self.missing = tuple(label for label in labels if key(label) not in column)
        if not self.labels:
            raise ArgumentError(
                f"the model {tagger.contract.name} has no class of the reference "
                f"({some(label.name for label in labels)}); sedkit info {tagger.model.path} lists its classes"
            )
        self.columns = [column[key(label)] for label in self.labels]

    @property
    def make_view(self) -> Callable[[], AnalysisView]:
        """A factory of views whose result is an :class:`~sedkit.judging.analysis.Analysed`."""
        names = [self.tagger.labels[column].name for column in self.columns]
        make_tags = self.tagger.tags_view(top_k=None, threshold=None, classes=names)
        return lambda: AnalysisView(self.columns, make_tags(), names, self.tagger.model.geometry)

    def settings(self, processing: PostProcessing) -> ColumnSettings:
        """Settings of the judged classes."""
        thresholds = np.array(self.tagger.contract.timeline_thresholds)[self.columns]
        return processing.columns(self.labels, thresholds, self.tagger.model.geometry)

    def detections(self, analysed: Analysed, processing: PostProcessing) -> Detections:
        """The results for one recording with these settings."""
        present = analysed.tags >= np.array(self.tagger.contract.thresholds)[self.columns]
        return detections_at_levels(analysed, self.settings(processing), present)


def key(label: Label) -> str:
    """What identifies a class."""
    return label.mid or label.name.casefold()
