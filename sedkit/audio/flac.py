"""FLAC files that were joined: FFmpeg's parser mixes up their frames, so it gets one stream after the other."""

from __future__ import annotations

import re
from typing import BinaryIO

from sedkit.audio.sources import Pipe

MARKER = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # a stream and the head of its first metadata block, STREAMINFO
BEGINNING = re.compile(rb"f(L(a(C([\x00\x80]\x00{0,2})?)?)?)?\Z")  # of a marker
LENGTH = 8  # bytes of a marker
COPIED = 1 << 16  # bytes read at once


class FlacStreams(Pipe):
    """A FLAC file that ends where the next stream begins, until :meth:`advance`.

    Format: RFC 9639, section 6.

    Parameters
    ----------
    file : at its start, or at a tag before it.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._kept = b""  # read, but not yet given
        self._begun = False  # whether the marker of this stream was given

    def read(self, size: int = -1) -> bytes:
        size = COPIED if size < 0 else size
        data = self._kept or super().read(size)
        while BEGINNING.search(data[1 - LENGTH :]) and (more := super().read(LENGTH)):
            data += more
        markers = [match.start() for match in MARKER.finditer(data)]
        own = markers.pop(0) if markers and not self._begun else size
        end = min(size, len(data), *markers[:1])
        self._begun = self._begun or own < end
        self._kept = data[end:]
        return data[:end]

    def advance(self) -> bool:
        """Go on to the next stream, past what is left of this one; False if there is none."""
        while self.read(COPIED):
            pass
        self._begun = False
        self.renew()
        return bool(self._kept)
