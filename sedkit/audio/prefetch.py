"""A recording that one thread opens while another still loads the model."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sedkit.audio.reading import AudioStream


class PrefetchedRecording:
    """A recording whose decoding starts early: one thread calls :meth:`prefetch`, another takes the :meth:`stream`.

    Parameters
    ----------
    name : path of the recording.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._ready = Event()
        self._opened: AudioStream | BaseException | None = None

    def prefetch(self) -> None:
        """Open the recording and decode its first block. :meth:`stream` raises any error."""
        try:
            from sedkit.audio.reading import open_audio  # here: importing NumPy is part of what runs in this thread

            self._opened = open_audio(self.name)
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
