"""Recordings with their options for reading."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from sedkit.geometry import SAMPLE_RATE

if TYPE_CHECKING:
    from sedkit.audio.reading import AudioStream, Notices


CHANNEL = re.compile(r"(.+)#([1-9][0-9]{0,3})", re.DOTALL)


class ChannelName(str):
    """The name of one channel of a recording, as in ``talk.wav#2``.

    Attributes
    ----------
    path : of the recording.
    channel : number of the channel, from 1 on.
    """

    path: str
    channel: int

    def __new__(cls, path: str, channel: int) -> Self:
        name = super().__new__(cls, f"{path}#{channel}")
        name.path, name.channel = path, channel
        return name

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]
        return self.path, self.channel  # for copies and pickles of results


def channel_names(path: str, track: int | None = None) -> list[str]:
    """A name for each channel of a recording.

    Raises
    ------
    AudioError
        If the file has no audio that can be decoded, or no such track.
    """
    from sedkit.audio.reading import channel_count

    return [ChannelName(path, number) for number in range(1, channel_count(path, track) + 1)]


def path_of(name: str) -> str:
    """The path of a recording, or of the recording that a :class:`ChannelName` belongs to."""
    return name.path if isinstance(name, ChannelName) else name


def channel_of(name: str) -> int | None:
    """The number of the channel that a :class:`ChannelName` names, from 1 on; None for a whole recording."""
    return name.channel if isinstance(name, ChannelName) else None


def parsed_name(name: str) -> str:
    """A name from a file of results, as a :class:`ChannelName` if it is that of a channel.

    The name of a file that exists is that of a recording, whatever it looks like. What is before the ``#`` must exist
    or have an ending.
    """
    found = CHANNEL.fullmatch(name)
    if found is None or os.path.exists(name):
        return name
    path = found[1]
    return ChannelName(path, int(found[2])) if os.path.splitext(path)[1] or os.path.exists(path) else name


class AudioSource:
    """A recording, and how to read it.

    Parameters
    ----------
    source : path, :class:`ChannelName` or binary file object.
    options : keyword arguments of :func:`sedkit.audio.reading.open_audio`.

    Attributes
    ----------
    sample_rate : of the recording, in Hz; None before it is opened.
    truncated : seconds that its header promises and it does not have; known at its end.
    """

    def __init__(self, source: str | BinaryIO, **options: Any) -> None:
        self.source, self.options = source, options
        self.name = source if isinstance(source, str) else "-"
        self.sample_rate: float | None = None
        self._notices: Notices | None = None
        if isinstance(source, ChannelName):
            self.source = source.path
            self.options["channel"] = source.channel

    @property
    def truncated(self) -> float:
        return self._notices.truncated if self._notices else 0.0

    def stream(self, output_rate: int = SAMPLE_RATE) -> AudioStream:
        """Open the recording, with blocks at `output_rate` Hz.

        Raises
        ------
        AudioError
            If the file does not exist or has no audio that can be decoded.
        """
        from sedkit.audio.reading import open_audio  # here: importing NumPy is part of what runs in a thread

        stream = open_audio(self.source, output_rate=output_rate, **self.options)
        self.sample_rate, self._notices = stream.sample_rate, stream.notices
        return stream
