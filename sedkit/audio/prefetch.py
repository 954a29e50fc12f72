"""Recordings with their options for reading, and one that a thread opens while another still loads the model."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from sedkit.audio.reading import AudioStream


class AudioSource:
    """A recording, and how to read it.

    Parameters
    ----------
    source : path or binary file object.
    options : keyword arguments of :func:`sedkit.audio.reading.open_audio`.

    Attributes
    ----------
    sample_rate : of the recording, in Hz; None before it is opened.
    """

    def __init__(self, source: str | BinaryIO, **options: Any) -> None:
        self.source, self.options = source, options
        self.name = source if isinstance(source, str) else "-"
        self.sample_rate: float | None = None

    def stream(self) -> AudioStream:
        """Open the recording.

        Raises
        ------
        AudioError
            If the file does not exist or has no audio that can be decoded.
        """
        from sedkit.audio.reading import open_audio  # here: importing NumPy is part of what runs in a thread

        stream = open_audio(self.source, **self.options)
        self.sample_rate = stream.sample_rate
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
