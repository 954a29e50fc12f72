"""A recording whose decoding begins in another thread, while the model that it is for is being loaded."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sedkit.audio.reading import AudioStream


class Begun:
    """A recording by its path: one thread calls :meth:`begin`, another takes the :meth:`stream`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._ready = Event()
        self._opened: AudioStream | BaseException | None = None

    def begin(self) -> None:
        """Open the recording and decode its first block; an error is kept for who asks for the stream."""
        try:
            from sedkit.audio.reading import open_audio

            self._opened = open_audio(self.name)
        except BaseException as error:
            self._opened = error
        self._ready.set()

    def stream(self) -> AudioStream:
        """The recording, being decoded; waits for it.

        Raises
        ------
        AudioError
            If there is no such file, or no sound in it that can be decoded.
        """
        self._ready.wait()
        if isinstance(self._opened, BaseException):
            raise self._opened
        assert self._opened is not None
        return self._opened
