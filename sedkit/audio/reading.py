"""Open a recording as a stream of float32 mono blocks at 16 kHz, or read its header.

soundfile decodes wav, flac, ogg, opus, mp3 and the other formats of libsndfile. PyAV decodes all other formats (m4a,
aac, mp4, webm, ...) and all pipes. Channels are averaged. soxr ("HQ") resamples; it keeps its state between blocks, so
the result does not depend on where the blocks are cut.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.decoding import (
    BLOCK,
    Decoder,
    Samples,
    audio_track,
    decode_libav,
    decode_soundfile,
    mono,
    open_libav,
    open_soundfile,
    to_float,
)
from sedkit.errors import ArgumentError, AudioError
from sedkit.geometry import SAMPLE_RATE

if TYPE_CHECKING:
    import av
    import av.container

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO | NDArray[Any]"

RATES = (1_000, 1_000_000)  # Hz; a rate outside this range means a broken header
MAX_CHANNELS = 64  # an array with more channels than this, and more channels than samples, is transposed
MAX_AMPLITUDE = 100.0  # 40 dB above full scale; samples beyond it were never scaled to [-1, 1]
GENERIC_INDEX = 0x0100  # FFmpeg's AVFMT_GENERIC_INDEX: a raw stream of packets without an index
BITS = {  # per sample, by libsndfile subtype
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "FLOAT": 32,
    "DOUBLE": 64,
}


class AudioStream:
    """A recording being decoded; iterate over it once for float32 mono blocks [samples] at 16 kHz.

    A context manager, which closes the file.

    Attributes
    ----------
    name : path as given, ``-`` for standard input, ``<array>`` for an array.
    sample_rate : the recording's own sample rate in Hz.
    samples : number of 16 kHz samples yielded so far.
    duration : seconds decoded so far, measured at the recording's own sample rate.
    """

    def __init__(self, name: str, decoder: Decoder) -> None:
        first = next(decoder, None)
        if first is None:
            raise AudioError(f"{name}: contains no samples; record or export it again")
        self.name = name
        self.sample_rate = first[0]
        self.samples = 0
        self._frames = 0
        self._decoder = decoder
        self._blocks = (block for _, block in chain([first], decoder))
        if not RATES[0] <= self.sample_rate <= RATES[1]:
            self.close()
            raise AudioError(
                f"{name}: sample rate {self.sample_rate:g} Hz is out of range (1 kHz to 1 MHz); resample it"
            )

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
        checked = (self._check(block) for block in self._blocks)
        for block in checked if self.sample_rate == SAMPLE_RATE else self._resample(checked):
            self.samples += len(block)
            yield block
        if not self.samples:
            raise AudioError(f"{self.name}: too short (less than one sample at 16 kHz); record or export it again")

    def _check(self, block: Samples) -> Samples:
        if not np.abs(block).max() <= MAX_AMPLITUDE:  # "not <=" is also true for NaN
            at = np.argmin(np.abs(block) <= MAX_AMPLITUDE)
            raise AudioError(
                f"{self.name}: sample {block[at]:g} at {(self._frames + at) / self.sample_rate:.3f} s; "
                "samples must be in [-1, 1], so repair or rescale the recording"
            )
        self._frames += len(block)
        return block

    def _resample(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        import soxr

        resampler = soxr.ResampleStream(self.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
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


def open_audio(source: Source, sample_rate: float | None = None) -> AudioStream:
    """Open a recording for decoding.

    Parameters
    ----------
    source : a path; a binary file object, which need not be seekable; or an array [samples] or [samples, channels] of
        floats in [-1, 1] or of integers, which are scaled by the range of their type.
    sample_rate : Hz; required for an array, not allowed otherwise.

    Raises
    ------
    AudioError
        If the file does not exist or has no audio that can be decoded.
    ArgumentError
        If `source` has another type, or `sample_rate` is missing, invalid or not allowed.
    """
    if isinstance(source, np.ndarray):
        return AudioStream("<array>", _decode_arrays([source], check_rate(sample_rate)))
    if sample_rate is not None:
        raise ArgumentError("sample_rate is only for arrays; a file has its own sample rate")
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        return AudioStream(name, _decode_path(name, _is_regular(name)))
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        name = getattr(source, "name", "-")
        name = "-" if not isinstance(name, str) or name == "<stdin>" else name
        return AudioStream(name, _decode_object(source, name))
    raise ArgumentError(f"audio must be a path, a binary file object or a NumPy array, not {type(source).__name__}")


def open_blocks(blocks: Iterable[NDArray[Any]], sample_rate: float, name: str = "<stream>") -> AudioStream:
    """Open a recording that arrives as arrays, such as a microphone's. Takes the first array immediately.

    Parameters
    ----------
    blocks : arrays as for :func:`open_audio`, of any length.
    sample_rate : Hz.
    name : name of the recording in error messages.

    Raises
    ------
    AudioError
        If `blocks` contains no samples.
    ArgumentError
        If `sample_rate` or an array is invalid.
    """
    return AudioStream(name, _decode_arrays(blocks, check_rate(sample_rate)))


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The header of an audio file.

    Attributes
    ----------
    container, codec : names as in libsndfile or FFmpeg, in lower case.
    sample_rate : Hz.
    bits : bits per sample; None if the codec has no fixed number.
    duration : seconds; None if the header does not give it.
    """

    file: str
    container: str
    codec: str
    sample_rate: int
    channels: int
    bits: int | None
    duration: float | None


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read the header of an audio file.

    Raises
    ------
    AudioError
        If the file does not exist or has no audio that can be decoded.
    """
    name = os.fspath(path)
    if not _is_regular(name):
        raise AudioError(f"{name}: not a regular file; save the stream to a file first")
    if opened := open_soundfile(name):
        with opened as sound:
            duration = sound.frames / sound.samplerate
            bits = BITS.get(sound.subtype)
            codec = sound.subtype.lower()
            return AudioInfo(name, sound.format.lower(), codec, sound.samplerate, sound.channels, bits, duration)
    with open(name, "rb") as file, open_libav(file, name) as container:
        track = audio_track(container, name)
        codec = track.codec_context
        duration = _libav_duration(container, track)
        kind = container.format.name
        return AudioInfo(name, kind, codec.name, codec.sample_rate, codec.layout.nb_channels, None, duration)


def _libav_duration(container: av.container.InputContainer, track: av.AudioStream) -> float | None:
    if container.format.flags & GENERIC_INDEX and track.time_base:
        # A raw stream (aac, ac3) has no duration, and FFmpeg's estimate can be far off: add up the packets.
        return float(sum(packet.duration or 0 for packet in container.demux(track)) * track.time_base)
    if track.duration is not None and track.time_base:
        return float(track.duration * track.time_base)
    return container.duration / 1e6 if container.duration else None


def _is_regular(name: str) -> bool:
    """Whether the path is a regular file, not a pipe or a device. Raises AudioError if it cannot be read."""
    try:
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{name}: is a folder; pass the files in it")
        regular = stat.S_ISREG(status.st_mode)
        if regular:
            with open(name, "rb"):  # raises if permission is denied
                pass
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name}: cannot be opened ({reason}); check the path and its permissions") from None
    if regular and not status.st_size:
        raise AudioError(f"{name}: empty (0 bytes); record or copy it again")
    return regular


def _decode_path(name: str, regular: bool) -> Decoder:
    sound = open_soundfile(name) if regular else None
    if sound:
        yield from decode_soundfile(sound, name)
    else:
        with open(name, "rb") as file:
            yield from (decode_libav if regular else _decode_object)(file, name)


def _decode_object(file: BinaryIO, name: str) -> Decoder:
    if isinstance(file, io.BufferedReader) and not file.peek(1):
        if file.seekable():
            raise AudioError(f"{name}: is empty; pass a recording")
        raise AudioError(f"{name}: no data came through the pipe; check the output of the command that feeds it")
    if file.seekable():
        start = file.tell()
        if sound := open_soundfile(file):
            yield from decode_soundfile(sound, name)
            return
        file.seek(start)
    yield from decode_libav(file, name)


def _decode_arrays(arrays: Iterable[NDArray[Any]], sample_rate: float) -> Decoder:
    for array in arrays:
        samples = _checked_array(array)
        block = max(1, BLOCK // samples.shape[1])
        for start in range(0, len(samples), block):
            yield sample_rate, mono(to_float(samples[start : start + block]).T)


def _checked_array(array: NDArray[Any]) -> NDArray[Any]:
    """The array as [samples, channels]; raises ArgumentError if it is not audio."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > (8 if array.dtype.kind == "f" else 4):
        raise ArgumentError(f"samples must be floats or integers of up to 32 bits, not {array.dtype}")
    if array.ndim not in (1, 2):
        raise ArgumentError(f"an array must be [samples] or [samples, channels], not {list(array.shape)}")
    samples = array.reshape(len(array), -1) if array.size else array.reshape(0, 1)
    if samples.shape[1] > max(MAX_CHANNELS, len(samples)):
        raise ArgumentError(f"an array must be [samples, channels]; {list(array.shape)} looks transposed")
    return samples


def check_rate(sample_rate: float | None) -> float:
    """The sample rate of an array as a float.

    Raises
    ------
    ArgumentError
        If it is missing, or outside 1 kHz to 1 MHz.
    """
    if not isinstance(sample_rate, int | float | np.number) or not RATES[0] <= sample_rate <= RATES[1]:
        raise ArgumentError(f"an array needs a sample_rate from 1 kHz to 1 MHz, not {sample_rate}")
    return float(sample_rate)
