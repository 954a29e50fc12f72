"""What is asked of a model, as views of its scores: the arguments of :class:`sedkit.tagger.Tagger`, checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sedkit.contract import Contract, Label
from sedkit.errors import ArgumentError, ContractError
from sedkit.inference.model import Model
from sedkit.results import Timeline
from sedkit.selection import Selection, is_named, select, suggestion
from sedkit.timeline.calibration import Calibration
from sedkit.timeline.views import RolledUpView, TagsView, View

if TYPE_CHECKING:  # what only timelines need is imported there: tags start faster
    from sedkit.timeline.grid import Resolution
    from sedkit.timeline.settings import ColumnSettings, PostProcessing

LOWEST_SCORE = 0.01  # of a tag, unless a threshold or classes ask for lower ones


class ModelViews:
    """A model, and the views of its scores that answer a question.

    Parameters
    ----------
    model : the model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def contract(self) -> Contract:
        """The model's metadata."""
        return self.model.contract

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes, in the order of the model's outputs."""
        return self.contract.labels

    def tags_view(
        self,
        *,
        top_k: int | None = 5,
        threshold: float | Literal["model"] | Mapping[str, float] | None = None,
        classes: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        rollup: Iterable[str] = (),
        parents: bool = False,
    ) -> Callable[[], TagsView]:
        """Return a factory of views whose result is that of :meth:`sedkit.tagger.Tagger.tag`; parameters as there.

        For :func:`sedkit.inference.pipeline.analyse`, which analyses many recordings in parallel.

        Raises
        ------
        ArgumentError
            If an argument has an invalid value, such as an unknown class.
        """
        if top_k is not None and (not isinstance(top_k, int | np.integer) or isinstance(top_k, bool) or top_k < 1):
            raise ArgumentError(f"top_k must be an integer of at least 1, not {top_k!r}")
        chosen = self._select(classes, exclude, rollup, parents)
        if threshold is None:
            threshold = LOWEST_SCORE if classes is None else 0.0
        own = threshold if isinstance(threshold, Mapping) else {}
        default = own.get("*", LOWEST_SCORE) if isinstance(threshold, Mapping) else threshold
        if default == "model":
            thresholds = chosen.thresholds(self.contract.thresholds)
        else:
            thresholds = np.full(len(chosen.labels), _checked_threshold(default))
        for name, value in own.items():
            if name != "*":
                thresholds[[is_named(label, name) for label in chosen.labels]] = _checked_threshold(value)
        self.check_names(own, chosen.labels)
        columns = list(chosen.columns)
        return partial(
            TagsView,
            chosen.labels,
            columns,
            self.model.weights(columns),
            self.contract.tag_segments,
            top_k,
            thresholds,
            Calibration.read(self.contract.calibration, columns),
            chosen,
            chosen.thresholds(self.contract.thresholds),
        )

    def timeline_view(
        self,
        *,
        threshold: float | Mapping[str, float] | None = None,
        postprocessing: PostProcessing | str | os.PathLike[str] | None = None,
        resolution: Resolution = 1.0,
        classes: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        rollup: Iterable[str] = (),
        parents: bool = False,
        scores: bool = False,
        overview: bool = False,
    ) -> Callable[[], View[Timeline]]:
        """Return a factory of views whose result is that of :meth:`sedkit.tagger.Tagger.timeline`; parameters as there.

        For :func:`sedkit.inference.pipeline.analyse`, which analyses many recordings in parallel.

        Parameters
        ----------
        scores : whether results keep the scores of all cells and classes: 76 MB for ten hours and 527 classes at one
            cell per second.
        overview : whether results have an overview, from which they are drawn: a few MB for ten hours.

        Raises
        ------
        ArgumentError
            If an argument has an invalid value, such as an unknown class.
        """
        from sedkit.timeline.grid import check_resolution
        from sedkit.timeline.timelines import TimelineView

        chosen = self._select(classes, exclude, rollup, parents)
        settings = self._settings(chosen, threshold, postprocessing)
        columns = list(range(len(chosen.labels))) if chosen.rolls_up else list(chosen.columns)
        make_view: Callable[[], View[Timeline]] = partial(
            TimelineView, chosen.labels, columns, settings, check_resolution(resolution), scores
        )
        if overview:
            from sedkit.timeline.overview import with_overview

            make_view = with_overview(make_view, columns, settings)
        return partial(_rolled_up, make_view, chosen) if chosen.rolls_up else make_view

    def post_processing(self, path: str | os.PathLike[str] | None = None) -> PostProcessing:
        """The post-processing of the model, with the settings of a TOML file in place of its own.

        Raises
        ------
        ArgumentError
            If the file cannot be read or holds an invalid setting.
        """
        from sedkit.timeline.settings import PostProcessing

        try:
            settings = PostProcessing.from_mapping(self.contract.postprocessing)
        except ArgumentError as error:
            raise ContractError("sedkit.postprocessing", str(error), str(self.model.path)) from None
        return settings if path is None else PostProcessing.read_toml(path, settings)

    def check_names(self, names: Iterable[str], reported: Iterable[Label] = ()) -> None:
        """Refuse names that are neither of the model's classes nor of those `reported`; ``"*"`` stands for all.

        Raises
        ------
        ArgumentError
            If there is such a name.
        """
        known = (*self.labels, *reported)
        for name in names:
            if name != "*" and not any(is_named(label, name) for label in known):
                remedy = suggestion(name, self.labels) or f"sedkit info {self.model.path} lists them"
                raise ArgumentError(f"{name}: the model {self.contract.name} has no such class; {remedy}")

    def _select(
        self, classes: Iterable[str] | None, exclude: Iterable[str], rollup: Iterable[str], parents: bool
    ) -> Selection:
        """The reported classes."""
        listed = f"sedkit info {self.model.path} lists them"
        return select(self.labels, classes, exclude, rollup, parents, f"the model {self.contract.name}", listed)

    def _settings(
        self,
        chosen: Selection,
        threshold: float | Mapping[str, float] | None,
        postprocessing: PostProcessing | str | os.PathLike[str] | None,
    ) -> ColumnSettings:
        """The post-processing settings of the reported classes."""
        from sedkit.timeline.settings import PostProcessing

        if not isinstance(postprocessing, PostProcessing | str | os.PathLike | None):
            kind = type(postprocessing).__name__
            raise ArgumentError(f"postprocessing must be a PostProcessing or the path of a TOML file, not {kind}")
        settings = (
            postprocessing if isinstance(postprocessing, PostProcessing) else self.post_processing(postprocessing)
        )
        if threshold is not None:
            settings = settings.with_thresholds(threshold if isinstance(threshold, Mapping) else {"*": threshold})
        self.check_names(settings.classes, chosen.labels)
        thresholds = chosen.thresholds(self.contract.timeline_thresholds)
        return replace(settings.columns(chosen.labels, thresholds, self.model.geometry), below=chosen.below)


def _rolled_up(make_view: Callable[[], View[Timeline]], chosen: Selection) -> RolledUpView[Timeline]:
    return RolledUpView(make_view(), chosen)


def _checked_threshold(threshold: Any) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number) or not 0 <= threshold <= 1:
        raise ArgumentError(f"threshold must be between 0 and 1, not {threshold!r}")
    return float(threshold)
