"""The Python API: :class:`Tagger` finds the sounds in a recording, and when they occur."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.channels import Channel
from sedkit.audio.reading import Source, check_rate, open_audio, open_blocks
from sedkit.contract import Contract, Label
from sedkit.errors import ArgumentError, AudioWarning
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.embedding import EmbeddingModel, EmbeddingView, Per
from sedkit.inference.installed import Precision, find_model
from sedkit.inference.model import Model
from sedkit.inference.session import Device
from sedkit.results import Embedding, Event, Second, Tagging, Timeline
from sedkit.timeline.calibration import Calibration
from sedkit.timeline.grid import Resolution, check_resolution
from sedkit.timeline.overview import with_overview
from sedkit.timeline.views import LiveTimeline, TagsView, TimelineView, View

Result = TypeVar("Result")


class Tagger:
    """Analyses recordings with one model.

    Parameters
    ----------
    model : path of a sedkit model, or name of an installed one; None is the default model.
    device : ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"tensorrt"``; see :class:`sedkit.inference.model.Model`.
    precision : ``"auto"``, ``"fp32"`` or ``"int8"``; see :func:`sedkit.inference.installed.find_model`.
    threads : CPU threads of the model; None takes all CPUs that this process may use.

    Raises
    ------
    ModelError, ContractError
        If the model cannot be found, or the file is not a valid sedkit model.
    DeviceError
        If the device does not work.
    ArgumentError
        If an argument has an invalid value.

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
        self._arguments = model, device, precision, threads

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        """Pickle the arguments: the model is loaded again, which the process that unpickles it must be able to do."""
        return type(self), self._arguments

    @property
    def contract(self) -> Contract:
        """The model's metadata."""
        return self.model.contract

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes, in the order of the model's outputs."""
        return self.contract.labels

    @property
    def device(self) -> str:
        """The device that the model runs on: ``"cpu"``, ``"cuda"`` or ``"tensorrt"``."""
        return self.model.device

    def tag(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        top_k: int | None = 5,
        threshold: float | Literal["model"] | None = None,
        classes: Iterable[str] | None = None,
        track: int | None = None,
        channel: Channel = "mix",
    ) -> Tagging:
        """Find out which classes a recording contains.

        The score of a class is the (weighted) mean of its segment scores, the model's layer P, without silent segments.
        For recordings longer than the training clips (5 s for the models that come with sedkit), the score is the
        maximum over a sliding window of the clips' length. The score is then calibrated, if the model has a
        calibration.

        Parameters
        ----------
        source : path, binary file object, or array [samples] or [samples, channels].
        sample_rate : Hz; required for an array, not allowed otherwise.
        top_k : maximum number of tags; None for all.
        threshold : lowest score of a tag, in [0, 1]; None for no threshold; ``"model"`` for the model's threshold of
            each class.
        classes : names or MIDs of the classes to report; None for all classes of the model.
        track : number of the audio track, from 1 on; None for the default track.
        channel : ``"mix"``, ``"left"``, ``"right"``, or the number of a channel, from 1 on.

        Returns
        -------
        The tags, sorted by descending score, then by label.

        Raises
        ------
        AudioError
            If the recording cannot be read.
        ArgumentError
            If an argument has an invalid value, such as an unknown class.

        Warns
        -----
        AudioWarning
            If sedkit chose a track or a channel, or left something out.
        """
        view = self.tags_view(top_k=top_k, threshold=threshold, classes=classes)
        return self._analyse(view(), source, sample_rate, track, channel)

    def timeline(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        threshold: float | None = None,
        resolution: Resolution = 1.0,
        classes: Iterable[str] | None = None,
        track: int | None = None,
        channel: Channel = "mix",
    ) -> Timeline:
        """Find out which classes a recording contains, and when.

        Parameters
        ----------
        source : path, binary file object, or array [samples] or [samples, channels].
        sample_rate : Hz; required for an array, not allowed otherwise.
        threshold : segment score, in [0, 1], at which a class counts as present; None for the model's threshold of each
            class. An event reaches the threshold and ends when the score drops below 0.05 x threshold (hysteresis).
        resolution : seconds per cell of the grid; ``"native"`` for one cell per segment, every 0.32 s. Events do not
            depend on it: they are computed from the segments.
        classes : names or MIDs of the classes to report; None for all classes of the model.
        track, channel : as for :meth:`tag`.

        Returns
        -------
        The timeline, with the scores of all cells and classes, and the overview from which it is drawn.

        Raises
        ------
        AudioError
            If the recording cannot be read.
        ArgumentError
            If an argument has an invalid value, such as an unknown class.

        Warns
        -----
        AudioWarning
            If sedkit chose a track or a channel, or left something out.
        """
        view = self.timeline_view(
            threshold=threshold, resolution=resolution, classes=classes, scores=True, overview=True
        )
        return self._analyse(view(), source, sample_rate, track, channel)

    def embed(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        per: Per = "segment",
        track: int | None = None,
        channel: Channel = "mix",
    ) -> Embedding:
        """Compute the embedding of a recording: the 1024 values of the network's layer L3, below its classes.

        Recordings that sound alike have embeddings that are near to each other, whatever their classes. They serve to
        search, cluster and draw recordings, and to train a classifier of few examples.

        Parameters
        ----------
        source, sample_rate, track, channel : as for :meth:`tag`.
        per : ``"segment"`` for one row per segment of 0.96 s, every 0.32 s; ``"clip"`` for one row, the mean over the
            segments that are not silent.

        Returns
        -------
        The rows with their onsets and offsets. Those of more than 1.5 h are in a temporary file (memory-mapped).

        Raises
        ------
        AudioError
            If the recording cannot be read.
        ArgumentError
            If an argument has an invalid value.

        Examples
        --------
        >>> tagger.embed("street.wav").values.shape
        >>> tagger.embed("street.wav", per="clip").values[0]
        """
        model = EmbeddingModel(self.model)
        return self._analyse(EmbeddingView(per), source, sample_rate, track, channel, model)

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
        """Yield the timeline of a recording while it plays.

        Cells and events are the same as those of :meth:`timeline` for the whole recording. They are yielded as soon as
        the audio that they depend on has arrived: a cell at most 1.12 s after its end (2.12 s after its start, at the
        default resolution), an event at most 1.92 s after its end. The length of a block adds to this latency, and
        several channels add 20 ms.

        Parameters
        ----------
        blocks : arrays, [samples] or [samples, channels], of any length.
        sample_rate : Hz. Rates other than 16 kHz are resampled, which adds a few milliseconds of latency.
        threshold, resolution, classes : as for :meth:`timeline`.
        name : name of the recording in error messages.

        Yields
        ------
        Cells in order, and each event after it has ended. Items that are ready at the same time are sorted by end.

        Raises
        ------
        AudioError
            If `blocks` contains no samples, or samples that are NaN or far outside [-1, 1].
        ArgumentError
            If an argument has an invalid value. Raised by the call itself, except for an invalid block.

        Examples
        --------
        >>> for item in tagger.stream(microphone, 48_000):
        ...     print(item)
        """
        check_rate(sample_rate)
        live = LiveTimeline(*self._timeline_arguments(threshold, resolution, classes))
        return self._stream(live, blocks, sample_rate, name)

    def tags_view(
        self,
        *,
        top_k: int | None = 5,
        threshold: float | Literal["model"] | None = None,
        classes: Iterable[str] | None = None,
    ) -> Callable[[], TagsView]:
        """Return a factory of views whose result is that of :meth:`tag`; parameters as there.

        For :func:`sedkit.inference.pipeline.analyse`, which analyses many recordings in parallel.

        Raises
        ------
        ArgumentError
            If an argument has an invalid value, such as an unknown class.
        """
        if top_k is not None and (not isinstance(top_k, int | np.integer) or isinstance(top_k, bool) or top_k < 1):
            raise ArgumentError(f"top_k must be an integer of at least 1, not {top_k!r}")
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
        overview: bool = False,
    ) -> Callable[[], View[Timeline]]:
        """Return a factory of views whose result is that of :meth:`timeline`; parameters as there.

        For :func:`sedkit.inference.pipeline.analyse`, which analyses many recordings in parallel.

        Parameters
        ----------
        scores : whether results keep the scores of all cells and classes: 76 MB for ten hours and 527 classes.
        overview : whether results have an overview, from which they are drawn: a few MB for ten hours.

        Raises
        ------
        ArgumentError
            If an argument has an invalid value, such as an unknown class.
        """
        labels, columns, thresholds, resolution = self._timeline_arguments(threshold, resolution, classes)
        make_view = partial(TimelineView, labels, columns, thresholds, resolution, scores)
        return with_overview(make_view, columns, thresholds.tolist()) if overview else make_view

    def _stream(
        self, live: LiveTimeline, blocks: Iterable[NDArray[Any]], sample_rate: float, name: str
    ) -> Iterator[Second | Event]:
        with open_blocks(blocks, sample_rate, name, _warn) as stream:
            for samples, kept, scores in self.model.scored_pieces(stream, low_latency=True):
                yield from live.add(samples, kept, scores, stream.duration).by_end()
        yield from live.finish(stream.duration).by_end()

    def _analyse(
        self,
        view: View[Result],
        source: Source,
        sample_rate: float | None,
        track: int | None,
        channel: Channel,
        model: Model | None = None,
    ) -> Result:
        with open_audio(source, sample_rate, track=track, channel=channel) as stream:
            for samples, kept, scores in (model or self.model).scored_pieces(stream):
                view.add(samples, kept, scores)
        for notice in stream.notices:
            warnings.warn(notice, AudioWarning, stacklevel=3)
        return view.finish(stream.name, stream.duration)

    def _timeline_arguments(
        self, threshold: float | None, resolution: Resolution, classes: Iterable[str] | None
    ) -> tuple[list[Label], list[int], NDArray[np.float64], Resolution]:
        """Check the arguments of a timeline; return those of its view."""
        columns = self._columns(classes)
        if threshold is None:
            thresholds = np.array([self.contract.timeline_thresholds[column] for column in columns])
        else:
            thresholds = np.full(len(columns), _checked_threshold(threshold))
        return [self.labels[column] for column in columns], columns, thresholds, check_resolution(resolution)

    def _columns(self, classes: Iterable[str] | None) -> list[int]:
        """Columns of these classes in the scores, in the model's order."""
        if classes is None:
            return list(range(len(self.labels)))
        if isinstance(classes, str):
            classes = [classes]
        known = {label.name.casefold(): column for column, label in enumerate(self.labels)}
        known |= {label.mid.casefold(): column for column, label in enumerate(self.labels) if label.mid}
        wanted = set()
        for name in classes:
            if name.strip().casefold() not in known:
                raise ArgumentError(
                    f"{name}: the model {self.contract.name} has no such class; {self._suggestion(name)}"
                )
            wanted.add(known[name.strip().casefold()])
        if not wanted:
            raise ArgumentError("classes is empty; omit it to report all classes of the model")
        return sorted(wanted)

    def _suggestion(self, name: str) -> str:
        import difflib

        names = {label.name.casefold(): label.name for label in self.labels}
        close = difflib.get_close_matches(name.strip().casefold(), names, n=3, cutoff=0.5)
        close += [folded for folded in names if name.strip().casefold() in folded and folded not in close][:3]
        if close:
            return f"did you mean {', '.join(names[match] for match in close)}?"
        return f"sedkit info {self.model.path} lists them"


def _warn(notice: str) -> None:
    warnings.warn(notice, AudioWarning, stacklevel=2)


def _checked_threshold(threshold: float) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float | np.number) or not 0 <= threshold <= 1:
        raise ArgumentError(f"threshold must be between 0 and 1, not {threshold!r}")
    return float(threshold)
