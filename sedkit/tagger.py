"""The Python API: what is in a recording, and when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.reading import Source, check_rate, open_audio, open_blocks
from sedkit.contract import Contract, Label
from sedkit.errors import ArgumentError
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.installed import Precision, find_model
from sedkit.inference.model import Model
from sedkit.inference.session import Device
from sedkit.results import Event, Second, Tagging, Timeline
from sedkit.timeline.calibration import Calibration
from sedkit.timeline.grid import Resolution, check_resolution
from sedkit.timeline.views import LiveTimeline, TagsView, TimelineView, View

Result = TypeVar("Result")


class Tagger:
    """Tags recordings with one model.

    Parameters
    ----------
    model : path of a sedkit model, or name of an installed one; None is the default model.
    device : ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"tensorrt"``; see :class:`sedkit.inference.model.Model`.
    precision : ``"auto"``, ``"fp32"`` or ``"int8"``; see :func:`sedkit.inference.installed.find_model`.
    threads : CPU threads of the model; None takes every CPU that this process may use.

    Raises
    ------
    ModelError, ContractError, DeviceError
        If the model cannot be found, or loaded on the device.

    Examples
    --------
    >>> tagger = Tagger()
    >>> tagger.tag("street.wav", top_k=3).to_dict()
    >>> tagger.timeline("street.wav", threshold=0.3).to_dataframe()
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        device: Device = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
    ) -> None:
        self.model = Model(find_model(model, precision, device), device, threads)

    @property
    def contract(self) -> Contract:
        """What the model says of itself."""
        return self.model.contract

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes, in the order of the model's outputs."""
        return self.contract.labels

    @property
    def device(self) -> str:
        """``"cpu"``, ``"cuda"`` or ``"tensorrt"``: what the model runs on."""
        return self.model.device

    def tag(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        top_k: int | None = 5,
        threshold: float | Literal["model"] | None = None,
        classes: Iterable[str] | None = None,
    ) -> Tagging:
        """What is in a recording.

        A class's score is the mean of its segment scores (the model's layer P, which may have weights for them), those
        of silent segments left out, and calibrated where the model says how. Of a recording longer than the clips
        whose labels the model learnt (5 s for the models that come with sedkit) it is the highest mean of as many
        segments, one after the other, as those clips had.

        Parameters
        ----------
        source : path, binary file object, or array [samples] or [samples, channels].
        sample_rate : Hz, of an array.
        top_k : how many tags at most; None for all.
        threshold : lowest score of a tag, in [0, 1]; None for any; ``"model"`` takes the model's own threshold of
            every class.
        classes : names or MIDs of the classes to look for; None for all of the model's.

        Returns
        -------
        Tags by score, the highest first; equal scores by label.

        Raises
        ------
        AudioError
            If the recording cannot be read.
        ArgumentError
            If an argument has a value that it cannot have, such as an unknown class.
        """
        view = self.tags_view(top_k=top_k, threshold=threshold, classes=classes)
        return self._analyse(view(), source, sample_rate)

    def timeline(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        threshold: float | None = None,
        resolution: Resolution = 1.0,
        classes: Iterable[str] | None = None,
    ) -> Timeline:
        """What is in a recording, and when.

        Parameters
        ----------
        source : path, binary file object, or array [samples] or [samples, channels].
        sample_rate : Hz, of an array.
        threshold : the segment score, in [0, 1], at which a class counts as present; None takes the model's
            own threshold of every class. The score of an event reaches it, and the event is followed down to a
            twentieth of it.
        resolution : seconds a cell of the grid; ``"native"`` takes the segments themselves, one every
            0.32 s. Events do not depend on it: they always come from the segments.
        classes : names or MIDs of the classes to look for; None for all of the model's.

        Raises
        ------
        AudioError
            If the recording cannot be read.
        ArgumentError
            If an argument has a value that it cannot have, such as an unknown class.
        """
        view = self.timeline_view(threshold=threshold, resolution=resolution, classes=classes, scores=True)
        return self._analyse(view(), source, sample_rate)

    def stream(
        self,
        blocks: Iterable[NDArray[Any]],
        sample_rate: float = SAMPLE_RATE,
        *,
        threshold: float | None = None,
        resolution: Resolution = 1.0,
        classes: Iterable[str] | None = None,
        name: str = "<stream>",
    ) -> Iterator[Second | Event]:
        """The timeline of a recording that is still playing, while it plays.

        Cells and events are those of :meth:`timeline` of the whole, but come as soon as all the sound that they depend
        on has: a cell at most 1.12 s after it ends (with the default resolution, 2.12 s after it begins), an event
        at most 1.92 s after it ends. Every block is worked on at once; the length of a block comes on top.

        Parameters
        ----------
        blocks : arrays, [samples] or [samples, channels], as of :meth:`timeline`, cut anywhere.
        sample_rate : Hz. What is not 16 kHz is resampled, which takes some milliseconds longer.
        threshold, resolution, classes : as of :meth:`timeline`.
        name : what errors call the recording.

        Yields
        ------
        Cells in order; events, each once it has ended; those that come together by the time at which they end.

        Raises
        ------
        AudioError
            If there is not one sample in `blocks`, or one that is no number in [-1, 1].
        ArgumentError
            If an argument has a value that it cannot have; at once, except for what is wrong with a block.

        Examples
        --------
        >>> for found in tagger.stream(microphone, 48_000):
        ...     print(found)
        """
        check_rate(sample_rate)
        live = LiveTimeline(*self._timeline_arguments(threshold, resolution, classes))
        return self._follow(live, blocks, sample_rate, name)

    def tags_view(
        self,
        *,
        top_k: int | None = 5,
        threshold: float | Literal["model"] | None = None,
        classes: Iterable[str] | None = None,
    ) -> Callable[[], TagsView]:
        """A maker of views that give what :meth:`tag` returns, one for each recording; checks its arguments at once.

        For whoever runs the model on many recordings (sedkit.inference.pipeline).

        Raises
        ------
        ArgumentError
            If an argument has a value that it cannot have, such as an unknown class.
        """
        if top_k is not None and (not isinstance(top_k, int | np.integer) or isinstance(top_k, bool) or top_k < 1):
            raise ArgumentError(f"top_k is a whole number from 1 on, not {top_k!r}")
        columns = self._columns(classes)
        thresholds: float | NDArray[np.float64] = 0.0
        if threshold == "model":
            thresholds = np.array([self.contract.thresholds[column] for column in columns])
        elif threshold is not None:
            thresholds = _checked_threshold(threshold)
        calibration = Calibration.read(self.contract.calibration, columns)
        labels, weights = [self.labels[column] for column in columns], self.model.weights(columns)
        return partial(TagsView, labels, columns, weights, self.contract.tag_segments, top_k, thresholds, calibration)

    def timeline_view(
        self,
        *,
        threshold: float | None = None,
        resolution: Resolution = 1.0,
        classes: Iterable[str] | None = None,
        scores: bool = False,
    ) -> Callable[[], TimelineView]:
        """A maker of views that give what :meth:`timeline` returns; checks its arguments at once.

        Parameters
        ----------
        scores : whether results hold the scores of every class in every cell, which of ten hours and 527 classes
            are 76 MB.

        Raises
        ------
        ArgumentError
            If an argument has a value that it cannot have, such as an unknown class.
        """
        return partial(TimelineView, *self._timeline_arguments(threshold, resolution, classes), scores)

    def _follow(
        self, live: LiveTimeline, blocks: Iterable[NDArray[Any]], sample_rate: float, name: str
    ) -> Iterator[Second | Event]:
        with open_blocks(blocks, sample_rate, name) as stream:
            for samples, kept, scores in self.model.scored_pieces(stream, low_latency=True):
                live.add_samples(samples, kept)
                yield from live.add_scores(scores, stream.duration).by_end()
        yield from live.finish(stream.duration).by_end()

    def _analyse(self, view: View[Result], source: Source, sample_rate: float | None) -> Result:
        with open_audio(source, sample_rate) as stream:
            for samples, kept, scores in self.model.scored_pieces(stream):
                view.add_samples(samples, kept)
                view.add_scores(scores)
        return view.finish(stream.name, stream.duration)

    def _timeline_arguments(
        self, threshold: float | None, resolution: Resolution, classes: Iterable[str] | None
    ) -> tuple[list[Label], list[int], NDArray[np.float64], Resolution]:
        """The arguments that views of a timeline are made with, checked."""
        columns = self._columns(classes)
        if threshold is None:
            thresholds = np.array([self.contract.timeline_thresholds[column] for column in columns])
        else:
            thresholds = np.full(len(columns), _checked_threshold(threshold))
        return [self.labels[column] for column in columns], columns, thresholds, check_resolution(resolution)

    def _columns(self, classes: Iterable[str] | None) -> list[int]:
        """Columns of the wanted classes, in the model's order."""
        if classes is None:
            return list(range(len(self.labels)))
        if isinstance(classes, str):
            classes = [classes]
        known = {label.name.casefold(): column for column, label in enumerate(self.labels)}
        known |= {label.mid.casefold(): column for column, label in enumerate(self.labels) if label.mid}
        wanted = set()
        for name in classes:
            if name.strip().casefold() not in known:
                raise ArgumentError(f"{name}: no such class in {self.contract.name}; {self._suggestion(name)}")
            wanted.add(known[name.strip().casefold()])
        if not wanted:
            raise ArgumentError("classes is empty; leave it out for all classes of the model")
        return sorted(wanted)

    def _suggestion(self, name: str) -> str:
        import difflib

        names = {label.name.casefold(): label.name for label in self.labels}
        close = difflib.get_close_matches(name.strip().casefold(), names, n=3, cutoff=0.5)
        close += [folded for folded in names if name.strip().casefold() in folded and folded not in close][:3]
        if close:
            return f"did you mean {', '.join(names[match] for match in close)}?"
        return f"sedkit info {self.model.path} lists them"


def _checked_threshold(threshold: float) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number) or not 0 <= threshold <= 1:
        raise ArgumentError(f"a threshold lies between 0 and 1, not {threshold!r}")
    return float(threshold)
