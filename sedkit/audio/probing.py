"""What the header of a recording says: format, length, tracks."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sedkit.audio.container import Opened, audio_track, duration
from sedkit.audio.decoding import check_plausible
from sedkit.audio.files import is_regular
from sedkit.audio.opening import opened
from sedkit.errors import AudioError

if TYPE_CHECKING:
    import soundfile

BITS = {  # per sample, by libsndfile subtype
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "FLOAT": 32,
    "DOUBLE": 64,
}


@dataclass(frozen=True, slots=True)
class Track:
    """An audio track of a file.

    Attributes
    ----------
    number : from 1 on.
    codec : as in FFmpeg, in lower case.
    sample_rate : Hz.
    language, title : empty if the file does not give them.
    default : whether sedkit analyses this track unless told otherwise.
    """

    number: int
    codec: str
    sample_rate: int
    channels: int
    language: str
    title: str
    default: bool


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """The header of an audio file.

    Attributes
    ----------
    container, codec : names as in libsndfile or FFmpeg, in lower case.
    sample_rate : Hz.
    bits : bits per sample; None if the codec has no fixed number.
    duration : seconds from the start of the container to the end of the audio; None if the header does not give it.
    tracks : the audio tracks, if there is more than one. The other attributes describe the default track.
    """

    file: str
    container: str
    codec: str
    sample_rate: int
    channels: int
    bits: int | None
    duration: float | None
    tracks: tuple[Track, ...] = ()


def probe(path: str | os.PathLike[str], count: bool = True) -> AudioInfo:
    """Read the header of an audio file.

    Parameters
    ----------
    count : whether to read the file to its end where the header does not give the length, a second for an hour of MP3.
        Otherwise, the length is an estimate or unknown.

    Raises
    ------
    AudioError
        If the file does not exist or has no audio that can be decoded.
    """
    name = os.fspath(path)
    if not is_regular(name):
        raise AudioError(f"{name}: not a regular file; save the stream to a file first")
    notes = list[str]()
    with open(name, "rb") as file, opened(file, name, notes.append, name) as source:
        info = _libav_info(source, name, count) if isinstance(source, Opened) else _soundfile_info(source, name)
    check_plausible(name, info.sample_rate, info.channels)
    return info


def _soundfile_info(sound: soundfile.SoundFile, name: str) -> AudioInfo:
    seconds = sound.frames / sound.samplerate
    bits = BITS.get(sound.subtype)
    return AudioInfo(name, sound.format.lower(), sound.subtype.lower(), sound.samplerate, sound.channels, bits, seconds)


def _libav_info(source: Opened, name: str, count: bool) -> AudioInfo:
    container = source.container
    chosen = audio_track(container, name)
    tracks = tuple(
        Track(
            number,
            stream.codec_context.codec.canonical_name,
            stream.codec_context.sample_rate,
            stream.codec_context.layout.nb_channels,
            stream.metadata.get("language", ""),
            stream.metadata.get("title", ""),
            stream.index == chosen.index,
        )
        for number, stream in enumerate(container.streams.audio, 1)
        if stream.codec_context  # there is a decoder for it
    )
    codec = chosen.codec_context
    return AudioInfo(
        name,
        container.format.name,
        codec.codec.canonical_name,
        codec.sample_rate,
        codec.layout.nb_channels,
        int(bits[0]) if (bits := re.findall(r"^pcm_[fsu](\d+)", codec.codec.canonical_name)) else None,
        duration(source, chosen, count),
        tracks if len(tracks) > 1 else (),
    )
