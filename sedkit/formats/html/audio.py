"""The audio of a page: the recording itself where browsers play it, otherwise a small copy in Opus."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from sedkit.audio.prefetch import channel_of, path_of
from sedkit.errors import AudioError, SedkitError
from sedkit.formats.writers import Run
from sedkit.geometry import SAMPLE_RATE

if TYPE_CHECKING:
    from sedkit.audio.channels import Channel

PLAYED = {  # by browsers
    ".wav": "audio/wav", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".opus": "audio/ogg",
    ".flac": "audio/flac", ".m4a": "audio/mp4", ".aac": "audio/aac", ".webm": "audio/webm", ".mp4": "video/mp4",
}  # fmt: skip
MOST_EMBEDDED = 20_000_000  # bytes of a recording that is embedded as it is
BIT_RATE = 24_000  # of a copy: 11 MB an hour


@dataclass(frozen=True)
class PageAudio:
    """The audio of a page: an address, or bytes of a media type, or neither; ``note`` says why there is none."""

    url: str | None = None
    content: bytes = b""
    type: str = ""
    note: str = ""


def audio_of(file: str, run: Run) -> PageAudio:
    """The audio of the page of a recording or of one of its channels, as the option ``--audio`` says.

    ``auto`` embeds a recording of up to 20 MB and links to a larger one; it embeds a copy of what browsers do not
    play, and of a channel. ``embed`` always embeds, ``link`` always links, ``none`` does neither.
    """
    choice, channel, file = run.options.audio, channel_of(file), path_of(file)
    if choice == "none" or not os.path.isfile(file):
        return PageAudio()
    kind = PLAYED.get(Path(file).suffix.lower(), "")
    track = run.settings.get("--track")
    small = os.path.getsize(file) <= MOST_EMBEDDED
    whole = track is None and channel is None
    if choice == "link" or (choice == "auto" and kind and whole and not small):
        return PageAudio(url=address(file, run.path), type=kind)
    with open(file, "rb") as opened:
        return embedded(opened, file, track, channel)


def embedded(file: BinaryIO, name: str, track: int | None, channel: int | None = None) -> PageAudio:
    """The bytes of a recording if browsers play them and they are not too many, otherwise a small copy.

    Parameters
    ----------
    file : the recording; read from its start.
    name : of the recording; its ending says what browsers play.
    track : number of the audio track, from 1 on; None for the default one.
    channel : number of the channel, from 1 on; None for all of them.
    """
    kind = PLAYED.get(Path(name).suffix.lower(), "")
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if kind and track is None and channel is None and size <= MOST_EMBEDDED:
        return PageAudio(content=file.read(), type=kind)
    try:
        return PageAudio(content=copy(file, track, channel=channel or "mix"), type="audio/webm")
    except (SedkitError, OSError, ValueError) as error:
        return PageAudio(note=f"The page has no audio: {error}")


def address(file: str, page: Path | None) -> str:
    """The address of a recording relative to a page; absolute if the page has no place, or is on another drive."""
    target = os.path.abspath(file)
    try:
        if page is not None:
            relative = os.path.relpath(target, os.path.abspath(page.parent))
            return quote(os.fsencode(relative.replace(os.sep, "/")))
    except ValueError:
        pass
    return "file://" + quote(os.fsencode("/" + target.replace(os.sep, "/").lstrip("/")))


def copy(file: BinaryIO, track: int | None, longest: float = math.inf, channel: Channel = "mix") -> bytes:
    """A recording as mono Opus in WebM, as sedkit analyses it.

    Raises
    ------
    AudioError
        If it cannot be read, or lasts more than `longest` seconds.
    """
    import av

    from sedkit.audio.reading import open_audio

    target = io.BytesIO()
    with av.open(target, "w", format="webm") as container, open_audio(file, track=track, channel=channel) as stream:
        encoder = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", bit_rate=BIT_RATE)
        position = 0
        for block in stream:
            frame = av.AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, position
            position += len(block)
            if position > longest * SAMPLE_RATE:
                raise AudioError(f"{stream.name}: is longer than {longest:g} s; cut it")
            container.mux(encoder.encode(frame))
        container.mux(encoder.encode(None))
    return target.getvalue()
