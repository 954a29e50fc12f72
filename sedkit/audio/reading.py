"""Any recording, of any length, as a stream of float32 mono 16 kHz blocks.

wav, flac, ogg, opus, mp3 and everything else that libsndfile knows are decoded by soundfile; the
rest (m4a, aac, mp4, webm, ...), and whatever comes through a pipe, by PyAV. Channels are averaged,
the rate is converted by soxr ("HQ"), whose state runs on from block to block: no seams.
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

RATES = (1_000, 1_000_000)  # Hz; what lies outside is a broken header, not a recording
CHANNELS = 64  # more than these, and more than samples: an array that lies on its side
LOUDEST = 100.0  # 40 dB above full scale: what goes beyond was never scaled to [-1, 1]
GENERIC_INDEX = 0x0100  # FFmpeg's AVFMT_GENERIC_INDEX: the format is a bare stream of packets
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}


class AudioStream:
    """A recording that is being decoded: iterate once for float32 mono 16 kHz blocks [samples].

    A context manager; leaving it closes the file.

    Attributes
    ----------
    name : path as given, ``-`` for standard input, ``<array>`` for an array.
    sample_rate : the recording's own, in Hz.
    samples : 16 kHz samples handed out so far.
    duration : seconds decoded so far, by the recording's own clock.
    """

    def __init__(self, name: str, decoder: Decoder) -> None:
        first = next(decoder, None)
        if first is None:
            raise AudioError(f"{name}: no samples in it; record or export it again")
        self.name = name
        self.sample_rate = first[0]
        self.samples = 0
        self._frames = 0
        self._decoder = decoder
        self._blocks = (block for _, block in chain([first], decoder))
        if not RATES[0] <= self.sample_rate <= RATES[1]:
            self.close()
            raise AudioError(f"{name}: a sample rate of {self.sample_rate:g} Hz; sedkit takes 1 kHz to 1 MHz")

    @property
    def duration(self) -> float:
        return self._frames / self.sample_rate

    def __iter__(self) -> Iterator[Samples]:
        """Blocks of some seconds, at most.

        Raises
        ------
        AudioError
            If the recording is damaged, or holds samples that are not numbers or not in [-1, 1].
        """
        checked = (self._check(block) for block in self._blocks)
        for block in checked if self.sample_rate == SAMPLE_RATE else self._resample(checked):
            self.samples += len(block)
            yield block
        if not self.samples:
            raise AudioError(f"{self.name}: too short, not one sample at 16 kHz; record or export it again")

    def _check(self, block: Samples) -> Samples:
        if not np.abs(block).max() <= LOUDEST:  # "not <=": NaN, too
            at = np.argmin(np.abs(block) <= LOUDEST)
            raise AudioError(
                f"{self.name}: sample {block[at]:g} at {(self._frames + at) / self.sample_rate:.3f} s; "
                "samples must be numbers in [-1, 1], so repair or rescale the recording"
            )
        self._frames += len(block)
        return block

    def _resample(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        import soxr

        resampler = soxr.ResampleStream(self.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        nothing = np.zeros(0, np.float32)
        for block, last in chain(((block, False) for block in blocks), [(nothing, True)]):
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
    source : a path; a file object open for reading bytes, which need not be seekable; or an array,
        [samples] or [samples, channels], floats in [-1, 1] or integers, which are scaled by their type's range.
    sample_rate : Hz; for an array, and only there.

    Raises
    ------
    AudioError
        If there is no such file, or no sound in it that can be decoded.
    ArgumentError
        If `source` is none of these, or `sample_rate` is missing or out of place.
    """
    if isinstance(source, np.ndarray):
        return AudioStream("<array>", _decode_arrays([source], check_rate(sample_rate)))
    if sample_rate is not None:
        raise ArgumentError("sample_rate goes with an array; a file has its own")
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        return AudioStream(name, _decode_path(name, _is_regular(name)))
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        name = getattr(source, "name", "-")
        name = "-" if not isinstance(name, str) or name == "<stdin>" else name
        return AudioStream(name, _decode_object(source, name))
    raise ArgumentError(f"audio is a path, a binary file object or a NumPy array, not {type(source).__name__}")


def open_blocks(blocks: Iterable[NDArray[Any]], sample_rate: float, name: str = "<stream>") -> AudioStream:
    """Open a recording that comes as arrays, such as a microphone's: the first is asked for at once.

    Parameters
    ----------
    blocks : arrays as of :func:`open_audio`, cut anywhere.
    sample_rate : Hz.
    name : for errors.

    Raises
    ------
    AudioError
        If there is not one sample in `blocks`.
    ArgumentError
        If `sample_rate` or an array is none.
    """
    return AudioStream(name, _decode_arrays(blocks, check_rate(sample_rate)))


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What an audio file says of itself, before anything is decoded.

    Attributes
    ----------
    container, codec : names as libsndfile or FFmpeg spell them, in lower case.
    sample_rate : Hz.
    bits : of a sample, or None where the codec has no such thing.
    duration : seconds, or None where the file does not tell.
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
        If there is no such file, or no sound in it that sedkit can decode.
    """
    name = os.fspath(path)
    if not _is_regular(name):
        raise AudioError(f"{name}: not a regular file; save the stream to one first")
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
        # A raw stream (aac, ac3) does not tell, and FFmpeg's guess can be far off: add up the packets, undecoded.
        return float(sum(packet.duration or 0 for packet in container.demux(track)) * track.time_base)
    if track.duration is not None and track.time_base:
        return float(track.duration * track.time_base)
    return container.duration / 1e6 if container.duration else None


def _is_regular(name: str) -> bool:
    """Whether the path is a regular file, that is, neither a pipe nor a device; an error if it cannot be read."""
    try:
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{name}: a folder, not a recording; give the files in it")
        regular = stat.S_ISREG(status.st_mode)
        if regular:
            with open(name, "rb"):  # the plainest test of permission
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
            raise AudioError(f"{name}: nothing in it to read; give a recording")
        raise AudioError(f"{name}: nothing came through the pipe; see what the command before it says")
    if file.seekable():
        start = file.tell()
        if sound := open_soundfile(file):
            yield from decode_soundfile(sound, name)
            return
        file.seek(start)
    yield from decode_libav(file, name)


def _decode_arrays(arrays: Iterable[NDArray[Any]], sample_rate: float) -> Decoder:
    for array in arrays:
        samples = _checked(array)
        block = max(1, BLOCK // samples.shape[1])
        for start in range(0, len(samples), block):
            yield sample_rate, mono(to_float(samples[start : start + block]).T)


def _checked(array: NDArray[Any]) -> NDArray[Any]:
    """The array as [samples, channels]."""
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > (8 if array.dtype.kind == "f" else 4):
        raise ArgumentError(f"samples are floats, or integers of up to 32 bits, not {array.dtype}")
    if array.ndim not in (1, 2):
        raise ArgumentError(f"an array is [samples] or [samples, channels], not {list(array.shape)}")
    samples = array.reshape(len(array), -1) if array.size else array.reshape(0, 1)
    if samples.shape[1] > max(CHANNELS, len(samples)):
        raise ArgumentError(f"an array is [samples, channels]; {list(array.shape)} looks transposed")
    return samples


def check_rate(sample_rate: float | None) -> float:
    """The rate of an array.

    Raises
    ------
    ArgumentError
        If it is missing, or no rate that sedkit takes.
    """
    if not isinstance(sample_rate, int | float | np.number) or not RATES[0] <= sample_rate <= RATES[1]:
        raise ArgumentError(f"an array needs its sample_rate, from 1 kHz to 1 MHz, not {sample_rate}")
    return float(sample_rate)
