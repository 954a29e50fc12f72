"""The Python API: :class:`Tagger` finds the sounds in a recording, and when they occur."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from numpy.typing import NDArray

from sedkit.audio.arrays import check_rate, in_array
from sedkit.audio.channels import Channel
from sedkit.audio.level import Gain
from sedkit.audio.prefetch import ChannelName
from sedkit.audio.reading import Source, channel_count, check_live, open_audio, open_blocks
from sedkit.errors import ArgumentError, AudioWarning
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.embedding import EmbeddingModel, EmbeddingView, Per
from sedkit.inference.installed import Precision, find_model
from sedkit.inference.model import Model
from sedkit.inference.model_views import ModelViews
from sedkit.inference.session import Device
from sedkit.results import Embedding, Event, Onset, Second, Tagging, Timeline
from sedkit.selection import Selection
from sedkit.timeline.views import View

if TYPE_CHECKING:  # what only timelines need is imported there: tags start faster
    from sedkit.timeline.grid import Resolution
    from sedkit.timeline.settings import PostProcessing
    from sedkit.timeline.timelines import LiveTimeline

Result = TypeVar("Result")
Analysis = TypeVar("Analysis", Tagging, Timeline)


class Tagger(ModelViews):
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
        super().__init__(Model(find_model(model, precision, device), device, threads))
        self._arguments = model, device, precision, threads

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        """Pickle the arguments: the model is loaded again, which the process that unpickles it must be able to do."""
        return type(self), self._arguments

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
        threshold: float | Literal["model"] | Mapping[str, float] | None = None,
        classes: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        rollup: Iterable[str] = (),
        parents: bool = False,
        track: int | None = None,
        channel: Channel = "mix",
        gain: Gain = 0.0,
    ) -> Tagging:
        """Find out which classes a recording contains.

        The score of a class is the (weighted) mean of its segment scores, the model's layer P, without silent segments.
        For recordings longer than the model's window (3.52 s in default and small, 5.12 s in large), it is the maximum
        over a sliding window. The score is then calibrated, if the model has a calibration.

        Parameters
        ----------
        source : path, binary file object, bytes of a file, or array [samples], [samples, channels] or
            [channels, samples].
        sample_rate : Hz; required for an array, not allowed otherwise.
        top_k : maximum number of tags; None for all.
        threshold : lowest score of a tag, in [0, 1]; ``"model"`` for the model's threshold of each class; a mapping
            ``{"Dog": 0.5, "*": 0.2}`` for thresholds by class, where ``"*"`` stands for all others. None is 0.01, or 0
            if `classes` is given.
        classes : names or MIDs of the classes to report; None for all classes of the model.
        exclude : names or MIDs of classes not to report.
        rollup : names or MIDs of classes of AudioSet's ontology to report too, such as ``"Bird"``. The score of each is
            the highest of the model's classes below it.
        parents : whether to report a class also where one below it in AudioSet's ontology is present and scores at
            least three quarters as much: Animal and Dog beside Bark. Those of `classes` and `rollup` always are.
        track : number of the audio track, from 1 on; None for the default track.
        channel : ``"mix"``, ``"left"``, ``"right"``, or the number of a channel, from 1 on.
        gain : dB; ``"auto"`` brings the loudest of the first 600 seconds to -20 dB.

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
        selecting: dict[str, Any] = {"classes": classes, "exclude": exclude, "rollup": rollup, "parents": parents}
        view = self.tags_view(top_k=top_k, threshold=threshold, **selecting)
        return self._analyse(view(), source, sample_rate, track, channel, gain)

    def timeline(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        threshold: float | Mapping[str, float] | None = None,
        postprocessing: PostProcessing | str | os.PathLike[str] | None = None,
        resolution: Resolution = 1.0,
        classes: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        rollup: Iterable[str] = (),
        parents: bool = False,
        track: int | None = None,
        channel: Channel = "mix",
        gain: Gain = 0.0,
    ) -> Timeline:
        """Find out which classes a recording contains, and when.

        Parameters
        ----------
        source : path, binary file object, bytes of a file, or array [samples], [samples, channels] or
            [channels, samples].
        sample_rate : Hz; required for an array, not allowed otherwise.
        threshold : segment score, in [0, 1], at which a class counts as present; None for the model's threshold of each
            class. A mapping ``{"Dog": 0.5, "*": 0.2}`` sets thresholds by class; ``"*"`` stands for all others. An
            event reaches the threshold and ends when the score drops below 0.05 x threshold (hysteresis), or 2.88 s
            after it last reached the threshold.
        postprocessing : how scores become events, as settings or the path of a TOML file with settings; None for those
            of the model.
        resolution : seconds per cell of the grid; ``"native"`` for one cell per segment, every 0.32 s. Events do not
            depend on it: they are computed from the segments.
        classes, exclude, rollup, parents, track, channel, gain : as for :meth:`tag`. Without `parents`, an event is
            left out if classes below are present in at least half of the segments that reach its threshold.

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
            threshold=threshold,
            postprocessing=postprocessing,
            resolution=resolution,
            classes=classes,
            exclude=exclude,
            rollup=rollup,
            parents=parents,
            scores=True,
            overview=True,
        )
        return self._analyse(view(), source, sample_rate, track, channel, gain)

    def embed(
        self,
        source: Source,
        sample_rate: float | None = None,
        *,
        per: Per = "segment",
        track: int | None = None,
        channel: Channel = "mix",
        gain: Gain = 0.0,
    ) -> Embedding:
        """Compute the embedding of a recording: the values below the classes, for WELS-Net the 1024 of layer L3.

        Recordings that sound alike have embeddings that are near to each other, whatever their classes. They serve to
        search, cluster and draw recordings, and to train a classifier of few examples.

        Parameters
        ----------
        source, sample_rate, track, channel, gain : as for :meth:`tag`.
        per : ``"segment"`` for one row per segment (WELS-Net: 0.96 s, every 0.32 s); ``"clip"`` for one row, the mean
            over the segments that are not silent.

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
        return self._analyse(EmbeddingView(per, model.geometry), source, sample_rate, track, channel, gain, model)

    def tag_channels(self, source: Source, sample_rate: float | None = None, **options: Any) -> list[Tagging]:
        """The tags of each channel of a recording, named ``talk.wav#1``, ``talk.wav#2`` and so on.

        Parameters
        ----------
        source, sample_rate, **options : as for :meth:`tag`, without `channel`. A pipe cannot be read more than once.
        """
        return _each_channel(self.tag, source, sample_rate, options)

    def timeline_channels(self, source: Source, sample_rate: float | None = None, **options: Any) -> list[Timeline]:
        """The timeline of each channel of a recording; parameters as for :meth:`tag_channels`."""
        return _each_channel(self.timeline, source, sample_rate, options)

    def stream(
        self,
        blocks: Iterable[NDArray[Any]],
        sample_rate: float = SAMPLE_RATE,
        *,
        threshold: float | Mapping[str, float] | None = None,
        postprocessing: PostProcessing | str | os.PathLike[str] | None = None,
        resolution: Resolution = 1.0,
        classes: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        rollup: Iterable[str] = (),
        parents: bool = False,
        channel: Channel = "mix",
        weights: tuple[float, ...] | None = None,
        gain: float = 0.0,
        name: str = "<stream>",
        onsets: bool = False,
        views: Sequence[View[Any]] = (),
    ) -> Iterator[Second | Event | Onset]:
        """Yield the timeline of a recording while it plays.

        Cells and events are the same as those of :meth:`timeline` for the whole recording. They are yielded as soon as
        the audio that they depend on has arrived: a cell at most 1.12 s after its end (2.12 s after its start, at the
        default resolution), an event at most 4.8 s after its end. The length of a block adds to this latency, the
        removal of offset and the mix of several channels 20 ms each, a median filter half its length, and
        ``merge_gap`` delays events by as much.

        Parameters
        ----------
        blocks : arrays, [samples] or [samples, channels], of any length; a list of floats is one.
        sample_rate : Hz. Rates other than the model's are resampled, which adds a few milliseconds of latency.
        threshold, postprocessing, resolution, classes, exclude, rollup, parents : as for :meth:`timeline`, except that
            the method ``"change-points"`` needs the whole recording.
        channel : as for :meth:`tag`.
        weights : of the channels in the mix; None for equal weights.
        gain : dB.
        name : name of the recording in error messages.
        onsets : whether to yield the onset of an event as soon as it is certain, if the event goes on. An event with
            this label and onset follows (with ``max_duration``, several, of which the first has this onset). Without
            `parents`, classes with others below them have no onsets: until its end, it is open whether an event counts.
        views : further views of the same scores, those of all classes of the model. Each gets a piece before the items
            of that piece are yielded.

        Yields
        ------
        Cells in order, each event after it has ended and, with `onsets`, each onset as soon as it is certain. Items
        that are ready at the same time are sorted by end.

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
        from sedkit.timeline.grid import check_resolution
        from sedkit.timeline.timelines import LiveTimeline

        check_rate(sample_rate)
        check_live(channel, gain, weights)
        chosen = self._select(classes, exclude, rollup, parents)
        settings = self._settings(chosen, threshold, postprocessing)
        if settings.shared.method == "change-points":
            raise ArgumentError("method change-points needs the whole recording; choose hysteresis for a stream")
        live = LiveTimeline(chosen.labels, range(len(chosen.labels)), settings, check_resolution(resolution), onsets)
        mixing = {"channel": channel, "weights": weights, "gain": gain}
        return self._stream(live, chosen, blocks, sample_rate, name, mixing, views)

    def _stream(
        self,
        live: LiveTimeline,
        chosen: Selection,
        blocks: Iterable[NDArray[Any]],
        sample_rate: float,
        name: str,
        mixing: Mapping[str, Any],
        views: Sequence[View[Any]],
    ) -> Iterator[Second | Event | Onset]:
        rate = self.model.geometry.sample_rate
        with open_blocks(blocks, sample_rate, name, _warn, **mixing, output_rate=rate) as stream:
            for samples, kept, scores in self.model.scored_pieces(stream, low_latency=True):
                for view in views:
                    view.add(samples, kept, scores)
                selected = chosen.highest(scores[:, chosen.columns])
                yield from live.add(samples, kept, selected, stream.duration).by_end()
        for view in views:
            view.finish(name, stream.duration)
        yield from live.finish(stream.duration).by_end()

    def _analyse(
        self,
        view: View[Result],
        source: Source,
        sample_rate: float | None,
        track: int | None,
        channel: Channel,
        gain: Gain,
        model: Model | None = None,
    ) -> Result:
        rate = self.model.geometry.sample_rate
        with open_audio(source, sample_rate, track=track, channel=channel, gain=gain, output_rate=rate) as stream:
            for samples, kept, scores in (model or self.model).scored_pieces(stream):
                view.add(samples, kept, scores)
        for notice in stream.notices:
            warnings.warn(notice, AudioWarning, stacklevel=3)
        result = view.finish(stream.name, stream.duration)
        if isinstance(result, Tagging | Timeline) and stream.notices.truncated:
            return replace(result, truncated=stream.notices.truncated)
        return result


def _each_channel(
    analyse: Callable[..., Analysis], source: Source, sample_rate: float | None, options: Mapping[str, Any]
) -> list[Analysis]:
    """The result of each channel."""
    if "channel" in options:
        raise ArgumentError("channel cannot be given: every channel has a result; Tagger.tag takes one")
    source = in_array(source)
    count = channel_count(source, options.get("track"))  # refuses what cannot be read again
    start = source.tell() if hasattr(source, "tell") else 0
    results = list[Analysis]()
    for number in range(1, count + 1):
        result = analyse(source, sample_rate, **options, channel=number)
        results.append(replace(result, file=ChannelName(result.file, number)))
        if hasattr(source, "seek"):
            source.seek(start)
    return results


def _warn(notice: str) -> None:
    warnings.warn(notice, AudioWarning, stacklevel=2)
