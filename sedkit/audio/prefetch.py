"""Recordings with their options for reading, and one that a thread opens while another still loads the model."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO, Self

if TYPE_CHECKING:
    from sedkit.audio.reading import AudioStream, Notices


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

    def stream(self) -> AudioStream:
        """Open the recording.

        Raises
        ------
        AudioError
            If the file does not exist or has no audio that can be decoded.
        """
        from sedkit.audio.reading import open_audio  # here: importing NumPy is part of what runs in a thread

        stream = open_audio(self.source, **self.options)
        self.sample_rate, self._notices = stream.sample_rate, stream.notices
        return stream


class PrefetchedRecording(AudioSource):
    """A recording whose decoding starts early: one thread calls :meth:`prefetch`, another takes the :meth:`stream`.

    Parameters
    ----------
    name : path of the recording.
    options : see :class:`AudioSource`.
    """

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._ready = Event()
        self._opened: AudioStream | BaseException | None = None

    def prefetch(self) -> None:
        """Open the recording and decode its first block. :meth:`stream` raises any error."""
        try:
            self._opened = super().stream()
        except BaseException as error:
            self._opened = error
        self._ready.set()

    def stream(self) -> AudioStream:
        """Wait for :meth:`prefetch` to end and return the open recording.

        Raises
        ------
        AudioError
            If the file does not exist or has no audio that can be decoded.
        """
        self._ready.wait()
        if isinstance(self._opened, BaseException):
            raise self._opened
        assert self._opened is not None
        return self._opened
