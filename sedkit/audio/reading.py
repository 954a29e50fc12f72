"""Open a recording as a stream of float32 mono blocks at the rate of a model, or read its header.

Our own code reads PCM in WAV (``pcm``). soundfile decodes other WAV, AIFF, AU, CAF, Ogg and Opus. PyAV decodes all
other formats (FLAC, MP3, M4A, ...), all pipes, recordings with more than two channels, and files that libsndfile would
not read whole. The content decides, never the name. ``channels`` has the rule for the mix of the channels. soxr ("HQ")
resamples; it keeps its state between blocks, so the result does not depend on where the blocks are cut.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Any, BinaryIO, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.arrays import LISTED, check_rate, checked_array, decode_arrays, in_array
from sedkit.audio.channels import Channel, channel_number, mono
from sedkit.audio.container import check_track
from sedkit.audio.decoding import Decoder, Notify, Samples, Truncated, check_amplitude, check_plausible
from sedkit.audio.files import is_regular
from sedkit.audio.level import Gain, WithoutOffset, amplified, check_gain
from sedkit.audio.opening import decode, decode_object
from sedkit.audio.probing import AudioInfo as AudioInfo
from sedkit.audio.probing import Track as Track
from sedkit.audio.probing import probe as probe
from sedkit.errors import ArgumentError, AudioError
from sedkit.geometry import SAMPLE_RATE

BYTES = bytes | bytearray | memoryview
Source: TypeAlias = "str | os.PathLike[str] | BinaryIO | bytes | bytearray | memoryview | NDArray[Any]"


class Notices(list[str]):
    """What sedkit chose or left out in a recording, one line each, beginning with the name of the recording.

    Parameters
    ----------
    name : of the recording.
    on_notice : called with each notice as well, perhaps by another thread.

    Attributes
    ----------
    truncated : seconds at the end that the header promises and the recording does not have.
    """

    def __init__(self, name: str, on_notice: Notify | None = None) -> None:
        super().__init__()
        self.truncated = 0.0
        self.name, self.on_notice = name, on_notice

    def add(self, message: str) -> None:
        """Add a message, without the name of the recording."""
        if isinstance(message, Truncated):
            self.truncated = message.seconds
        notice = f"{self.name}: {message}"
        self.append(notice)
        if self.on_notice:
            self.on_notice(notice)


class AudioStream:
    """A recording being decoded; iterate over it once for float32 mono blocks [samples] at ``output_rate``.

    A context manager, which closes the file.

    Attributes
    ----------
    name : path as given, ``-`` for standard input, ``<array>`` for an array.
    sample_rate : the recording's own sample rate in Hz.
    output_rate : sample rate of the blocks in Hz.
    samples : number of samples yielded so far.
    duration : seconds decoded so far, measured at the recording's own sample rate.
    notices : what sedkit chose or left out so far.
    """

    def __init__(
        self,
        name: str,
        decoder: Decoder,
        channel: int | None = None,
        notices: Notices | None = None,
        gain: Gain = 0.0,
        output_rate: int = SAMPLE_RATE,
    ) -> None:
        self.notices = Notices(name) if notices is None else notices
        first = next(decoder, None)
        if first is None:
            raise AudioError(f"{name}: contains no samples; record or export it again")
        self.name = name
        self.sample_rate, self.output_rate = first.rate, output_rate
        self.samples = 0
        self._gain = gain
        self._frames = 0
        self._decoder = decoder
        self._blocks = mono(chain([first], decoder), channel, name, self.notices.add)
        try:
            check_plausible(name, self.sample_rate)
        except AudioError:
            self.close()
            raise

    @property
    def duration(self) -> float:
        return self._frames / self.sample_rate

    def __iter__(self) -> Iterator[Samples]:
        """Yield blocks of a few seconds at most.

        Raises
        ------
        AudioError
            If the recording is damaged, is too short, or has samples that are NaN or far outside [-1, 1].
        """
        blocks = self._without_offset()
        if self.sample_rate != self.output_rate:
            blocks = self._resample(blocks)
        for block in amplified(blocks, self._gain, self.output_rate):
            self.samples += len(block)
            yield block
        if not self.samples:
            rate = f"{self.output_rate / 1000:g} kHz"
            raise AudioError(f"{self.name}: too short (less than one sample at {rate}); record or export it again")

    def _without_offset(self) -> Iterator[Samples]:
        without_offset = WithoutOffset(self.sample_rate)
        for block in self._blocks:
            shifted = without_offset(self._check(block))
            if len(shifted):
                yield shifted
        if len(rest := without_offset.finish()):
            yield rest

    def _check(self, block: Samples) -> Samples:
        check_amplitude(self.name, block, self._frames, self.sample_rate)
        self._frames += len(block)
        return block

    def _resample(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        import soxr

        resampler = soxr.ResampleStream(self.sample_rate, self.output_rate, 1, dtype="float32", quality="HQ")
        empty = np.zeros(0, np.float32)
        for block, last in chain(((block, False) for block in blocks), [(empty, True)]):
            resampled = resampler.resample_chunk(block, last=last)
            if len(resampled):
                yield resampled

    def close(self) -> None:
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_audio(
    source: Source,
    sample_rate: float | None = None,
    *,
    track: int | None = None,
    channel: Channel = "mix",
    gain: Gain = 0.0,
    on_notice: Notify | None = None,
    output_rate: int = SAMPLE_RATE,
) -> AudioStream:
    """Open a recording for decoding.

    Parameters
    ----------
    source : a path; a binary file object, which need not be seekable; the bytes of a file; or an array [samples],
        [samples, channels] or [channels, samples] of floats in [-1, 1] or of integers, which are scaled by the range of
        their type. A list of floats is an array.
    sample_rate : Hz; required for an array, not allowed otherwise.
    track : number of the audio track, from 1 on; None for the default track of the file, otherwise its first.
    channel : ``"mix"`` for the mix of the channels (see :mod:`sedkit.audio.channels`), ``"left"``, ``"right"``, or the
        number of a channel, from 1 on.
    gain : dB; ``"auto"`` brings the loudest of the first 600 seconds to -20 dB, with at most 60 dB for all.
    on_notice : called with each of the stream's notices, perhaps by the thread that iterates over the stream.
    output_rate : Hz, of the stream's blocks: that of the model.

    Raises
    ------
    AudioError
        If the file does not exist, has no audio that can be decoded, or has no such track or channel.
    ArgumentError
        If `source` has another type or is a closed file, another argument is invalid, or `sample_rate` is missing or
        not allowed.
    """
    number = channel_number(channel)
    check_gain(gain)
    _check_track(track)
    source = in_array(source)
    if isinstance(source, np.ndarray):
        name = "<array>"
        notices = Notices(name, on_notice)
        check_track(name, track, 1)
        decoder = decode_arrays([source], check_rate(sample_rate), notices.add)
        return AudioStream(name, decoder, number, notices, gain, output_rate)
    if sample_rate is not None and not isinstance(source, list | tuple):
        remedy = "; make bytes of samples an array: numpy.frombuffer(data, type)" if isinstance(source, BYTES) else ""
        raise ArgumentError(f"sample_rate is only for arrays; a file has its own sample rate{remedy}")
    if isinstance(source, BYTES):
        source = io.BytesIO(source)
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        notices = Notices(name, on_notice)
        return AudioStream(name, decode_path(name, track, notices), number, notices, gain, output_rate)
    name = _checked_object(source)
    notices = Notices(name, on_notice)
    return AudioStream(name, decode_object(source, name, notices.add, track), number, notices, gain, output_rate)


def _check_track(track: int | None) -> None:
    if track is not None and (not isinstance(track, int | np.integer) or isinstance(track, bool) or track < 1):
        raise ArgumentError(f"track must be an integer of at least 1, not {track!r}")


def _checked_object(source: object) -> str:
    """The name of a binary file object; raises ArgumentError if `source` is none."""
    if isinstance(source, io.TextIOBase):
        raise ArgumentError(f"audio must be a binary file object, not {type(source).__name__}; open it with mode 'rb'")
    if isinstance(source, list | tuple):
        raise ArgumentError(LISTED)
    if not hasattr(source, "read"):
        kind = type(source).__name__
        raise ArgumentError(f"audio must be a path, a binary file object or a NumPy array, not {kind}")
    if getattr(source, "closed", False):
        raise ArgumentError("the file object is closed; open it again, or pass its path")
    if not hasattr(source, "seekable"):  # such as mmap before Python 3.13
        kind = type(source).__name__
        raise ArgumentError(f"audio must be a binary file object, as open() gives, not {kind}; pass its bytes")
    if not getattr(source, "readable", lambda: True)():
        raise ArgumentError("the file object is open for writing only; open it with mode 'rb'")
    name = getattr(source, "name", "-")
    return "-" if not isinstance(name, str) or name == "<stdin>" else name


def channel_count(source: Source, track: int | None = None) -> int:
    """The number of channels of a recording.

    Raises
    ------
    AudioError
        As :func:`open_audio`.
    ArgumentError
        As :func:`open_audio`, and if `source` is a pipe, which cannot be read twice.
    """
    _check_track(track)
    source = in_array(source)
    if isinstance(source, np.ndarray):
        return int(checked_array(source).shape[1])
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if not is_regular(name):
            raise ArgumentError(f"{name}: a pipe cannot be read once per channel; save it to a file first")
        with open(name, "rb") as opened:
            return _first_chunk(decode(opened, name, _ignore, track, name))
    file = io.BytesIO(source) if isinstance(source, BYTES) else source
    name = _checked_object(file)
    if not file.seekable():
        raise ArgumentError(f"{name}: a pipe cannot be read once per channel; save it to a file first")
    start = file.tell()
    try:
        return _first_chunk(decode_object(file, name, _ignore, track))
    finally:
        file.seek(start)


def _first_chunk(decoder: Decoder) -> int:
    with closing(decoder):
        first = next(decoder, None)
    return 0 if first is None else len(first.samples)


def _ignore(notice: str) -> None:
    pass


def check_live(channel: Channel, gain: float, weights: tuple[float, ...] | None = None) -> int | None:
    """The number of a channel of live audio, None for the mix; raises ArgumentError if an argument is invalid."""
    number = channel_number(channel)
    check_gain(gain)
    if isinstance(gain, str):
        raise ArgumentError("gain 'auto' needs the recording; for live audio, pass a number of dB")
    if weights is not None and not (np.size(weights) and np.min(weights) >= 0 and 0 < np.sum(weights) < np.inf):
        raise ArgumentError(f"weights must be numbers from 0 on, not all 0, not {weights!r}")
    return number


def open_blocks(
    blocks: Iterable[NDArray[Any]],
    sample_rate: float,
    name: str = "<stream>",
    on_notice: Notify | None = None,
    *,
    channel: Channel = "mix",
    weights: tuple[float, ...] | None = None,
    gain: float = 0.0,
    output_rate: int = SAMPLE_RATE,
) -> AudioStream:
    """Open a recording that arrives as arrays, such as a microphone's. Takes the first array immediately.

    Parameters
    ----------
    blocks : arrays as for :func:`open_audio`, of any length.
    sample_rate : Hz.
    name : name of the recording in error messages.
    channel, gain, on_notice, output_rate : see :func:`open_audio`; the gain is a number.
    weights : of the channels in the mix; None for equal weights.

    Raises
    ------
    AudioError
        If `blocks` contains no samples.
    ArgumentError
        If `sample_rate`, `channel`, `weights`, `gain` or an array is invalid.
    """
    number = check_live(channel, gain, weights)
    notices = Notices(name, on_notice)
    decoder = decode_arrays(blocks, check_rate(sample_rate), notices.add, weights)
    return AudioStream(name, decoder, number, notices, gain, output_rate)


def decode_path(name: str, track: int | None, notices: Notices) -> Decoder:
    """Decode a file or a named pipe to chunks at its own rate; parameters and errors as for :func:`open_audio`."""
    regular = is_regular(name)
    with open(name, "rb") as file:
        decoder = (
            decode(file, name, notices.add, track, name) if regular else decode_object(file, name, notices.add, track)
        )
        yield from decoder
