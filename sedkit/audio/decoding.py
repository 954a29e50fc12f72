"""Decoders: a recording as blocks of mono samples at its own rate, by libsndfile (soundfile) or FFmpeg (PyAV)."""

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

BLOCK = 2**18  # samples decoded at once, those of all channels: 1 MB at any rate; 3 s of a compact disc


def open_soundfile(source: str | BinaryIO) -> soundfile.SoundFile | None:
    """The file opened by libsndfile; None if libsndfile cannot, or finds no samples.

    A recorder that broke off leaves a length of 0 in the header: FFmpeg reads on to the end of such a file.
    """
    import soundfile

    if isinstance(source, str):
        source = cast("BinaryIO", os.fsencode(source) if sys.platform != "win32" else source)  # any name will do
    try:
        sound = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: the name ends in .raw, which means "no header"
        return None
    if sound.frames:
        return sound
    sound.close()
    return None


def decode_soundfile(sound: soundfile.SoundFile, name: str) -> Decoder:
    """Decode to the end, and close the file.

    Raises
    ------
    AudioError
        If the file is damaged.
    """
    import soundfile

    done = 0
    with sound:
        rate, frames = sound.samplerate, BLOCK // sound.channels
        while True:
            try:
                block = sound.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                where = f"between {done / rate:.0f} and {(done + frames) / rate:.0f} s"
                raise _damaged(name, where, error.error_string.removeprefix("Error :")) from None
            if not len(block):
                return
            done += len(block)
            yield rate, mono(block.T)


def open_libav(file: BinaryIO, name: str) -> av.container.InputContainer:
    """The file opened by PyAV.

    Raises
    ------
    AudioError
        If FFmpeg knows no such format.
    """
    import av

    try:
        # No protocols: a playlist that is called audio must not fetch what it names.
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
        raise AudioError(f"{name}: no audio track in it; give a file with sound")
    return container.streams.audio[0]


def decode_libav(file: BinaryIO, name: str) -> Decoder:
    """Decode the first audio track.

    What cannot be decoded is passed over before the first sound and at the very end, where a
    truncated file breaks off; with sound on either side it is an error, since times would shift.

    Raises
    ------
    AudioError
        If there is no sound, or the file is damaged.
    """
    import av

    rate, done, yielded, pending = 0, 0, 0, list[Samples]()
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
                where = f"at {done / rate:.1f} s"
                if frame.sample_rate != rate:
                    raise _damaged(name, where, f"the sample rate changes from {rate} to {frame.sample_rate} Hz")
                if damage and done and packet.size:  # the last packet has no size: it drains the decoder
                    raise _damaged(name, where, damage.strerror)
                pending.append(_frame_to_mono(frame))
                done += len(pending[-1])
            damage = None if frames else damage
            if pending and done - yielded >= BLOCK:
                yield rate, np.concatenate(pending)
                yielded, pending = done, []
        if damage and not done:
            raise _not_audio(file, name, damage)
        if pending:
            yield rate, np.concatenate(pending)


def _frame_to_mono(frame: av.AudioFrame) -> Samples:
    samples = frame.to_ndarray()  # planar [channels, samples], packed [1, samples * channels]
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    return mono(to_float(samples))


def mono(channels: Samples) -> Samples:
    """The mean of channels [channels, samples]; numpy's own is five times slower where they interleave."""
    mono: Samples = channels[0]
    if len(channels) > 1:
        mono = mono + channels[1]
        for channel in channels[2:]:
            mono += channel
        mono /= len(channels)
    return mono


def to_float(samples: NDArray[Any]) -> Samples:
    """Integers scaled to [-1, 1) by the range of their type; floats as they are."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    if samples.dtype.kind == "i":
        return samples.astype(np.float32) / np.float32(half)
    return (samples / half - 1).astype(np.float32)


def _not_audio(file: BinaryIO, name: str, error: av.FFmpegError) -> AudioError:
    remedy = "convert it to wav or flac first" if file.seekable() else "save it to a file first, or pipe wav"
    where = "" if file.seekable() else "from a pipe "
    return AudioError(f"{name}: not audio that sedkit can decode {where}({error.strerror}); {remedy}")


def _damaged(name: str, where: str, cause: str | None) -> AudioError:
    cause = (cause or "no reason given").strip(" .")
    return AudioError(f"{name}: damaged {where} ({cause}); repair it, or convert what plays to wav")
