"""Decoders: libsndfile (soundfile) and FFmpeg (PyAV). They yield mono blocks at the recording's own sample rate."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import AudioError

if TYPE_CHECKING:
    import av
    import av.container
    import soundfile

Samples: TypeAlias = NDArray[np.float32]
Decoder: TypeAlias = Generator[tuple[float, Samples], None, None]  # (rate in Hz, mono samples at that rate)

BLOCK = 2**18  # samples decoded at once, over all channels: 1 MB at any sample rate, 3 s of 44.1 kHz stereo


def open_soundfile(source: str | BinaryIO) -> soundfile.SoundFile | None:
    """Open a file with libsndfile; None if libsndfile cannot read it or finds no samples in it.

    An interrupted recorder leaves a length of 0 in the header. FFmpeg reads such a file to its end.
    """
    import soundfile

    if isinstance(source, str):
        source = cast(
            "BinaryIO", os.fsencode(source) if sys.platform != "win32" else source
        )  # names need not be valid UTF-8
    try:
        sound = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    if sound.frames:
        return sound
    sound.close()
    return None


def decode_soundfile(sound: soundfile.SoundFile, name: str) -> Decoder:
    """Decode a file to its end, then close it.

    Raises
    ------
    AudioError
        If the file is damaged.
    """
    import soundfile

    decoded = 0
    with sound:
        rate, frames = sound.samplerate, BLOCK // sound.channels
        while True:
            try:
                block = sound.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                where = f"between {decoded / rate:.0f} and {(decoded + frames) / rate:.0f} s"
                raise _damaged(name, where, error.error_string.removeprefix("Error :")) from None
            if not len(block):
                return
            decoded += len(block)
            yield rate, mono(block.T)


def open_libav(file: BinaryIO, name: str) -> av.container.InputContainer:
    """Open a file with PyAV.

    Raises
    ------
    AudioError
        If FFmpeg does not know the format.
    """
    import av

    try:
        # No protocols: a playlist disguised as audio must not make FFmpeg open the files or URLs that it lists.
        return av.open(file, "r", metadata_errors="ignore", options={"protocol_whitelist": "none"})
    except av.FFmpegError as error:
        raise _not_audio(file, name, error) from None


def audio_track(container: av.container.InputContainer, name: str) -> av.AudioStream:
    """The first audio track.

    Raises
    ------
    AudioError
        If there is none.
    """
    if not container.streams.audio:
        raise AudioError(f"{name}: has no audio track; use a file with audio")
    return container.streams.audio[0]


def decode_libav(file: BinaryIO, name: str) -> Decoder:
    """Decode the first audio track.

    Packets that cannot be decoded are skipped before the first samples and at the end (truncated files). Anywhere else
    they are an error, since skipping them would shift all later times.

    Raises
    ------
    AudioError
        If no samples can be decoded, or the file is damaged.
    """
    import av

    rate, decoded, yielded, pending = 0, 0, 0, list[Samples]()
    damage: av.FFmpegError | None = None
    with open_libav(file, name) as container:
        packets = container.demux(audio_track(container, name))
        while True:
            try:
                packet = next(packets, None)
                frames = [frame for frame in packet.decode() if frame.samples] if packet else []
            except av.FFmpegError as error:
                damage = error
                continue
            if packet is None:
                break
            for frame in frames:
                rate = rate or frame.sample_rate
                where = f"at {decoded / rate:.1f} s"
                if frame.sample_rate != rate:
                    raise _damaged(name, where, f"the sample rate changes from {rate} to {frame.sample_rate} Hz")
                if damage and decoded and packet.size:  # size 0: the last packet, which flushes the decoder
                    raise _damaged(name, where, damage.strerror)
                pending.append(_frame_to_mono(frame))
                decoded += len(pending[-1])
            damage = None if frames else damage
            if pending and decoded - yielded >= BLOCK:
                yield rate, np.concatenate(pending)
                yielded, pending = decoded, []
        if damage and not decoded:
            raise _not_audio(file, name, damage)
        if pending:
            yield rate, np.concatenate(pending)


def _frame_to_mono(frame: av.AudioFrame) -> Samples:
    samples = frame.to_ndarray()  # planar [channels, samples], packed [1, samples * channels]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return mono(to_float(samples))


def mono(channels: Samples) -> Samples:
    """The mean over channels, [channels, samples]; five times faster than ``numpy.mean`` on interleaved channels."""
    total: Samples = channels[0]
    if len(channels) > 1:
        total = total + channels[1]
        for channel in channels[2:]:
            total += channel
        total /= len(channels)
    return total


def to_float(samples: NDArray[Any]) -> Samples:
    """Convert to float32: integers are scaled from the range of their type to [-1, 1), floats keep their values."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(half)
    return (samples / half - 1).astype(np.float32)


def _not_audio(file: BinaryIO, name: str, error: av.FFmpegError) -> AudioError:
    remedy = "convert it to wav or flac first" if file.seekable() else "save it to a file first, or pipe wav"
    source = "" if file.seekable() else "from a pipe "
    return AudioError(f"{name}: not audio that sedkit can decode {source}({error.strerror}); {remedy}")


def _damaged(name: str, where: str, cause: str | None) -> AudioError:
    cause = (cause or "unknown cause").strip(" .")
    return AudioError(f"{name}: damaged {where} ({cause}); repair the file, or convert the playable part to wav")
