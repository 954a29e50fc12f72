"""Byte sources for the decoders: without a name, which would be taken for a hint, and with a bound on their patience.

A damaged file can make a demuxer loop. All bytes of a file pass through these classes, so they end such a loop: when
FFmpeg has computed for PATIENCE seconds without a frame and without reading further into the file, reading ends.
"""

from __future__ import annotations

import io
import threading
import time
from typing import BinaryIO, cast

PATIENCE = 5.0  # seconds of processor time
PROGRESS = 1 << 20  # bytes beyond the farthest so far that count as progress


class Source(io.RawIOBase):
    """A binary file as FFmpeg reads it.

    Attributes
    ----------
    exhausted : whether reading ended because FFmpeg went round in circles.
    piped : whether the file cannot be read from the start again.
    start : the first bytes, for messages.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.exhausted = False
        self.start = b""
        self.piped: bool = getattr(file, "piped", not file.seekable())
        self._source = file
        self._goal = PROGRESS  # position that counts as progress
        self.renew()

    def renew(self) -> None:
        """Start counting the time anew; for the decoder, after each frame."""
        self._thread = threading.get_ident()
        self._deadline = time.thread_time() + PATIENCE  # waiting, for the file or for a busy machine, does not count

    def _bounded(self, position: int) -> bool:
        """Note that bytes were read up to a position; whether FFmpeg may go on."""
        if position >= self._goal or self._thread != threading.get_ident():
            self._goal = max(self._goal, position + PROGRESS)
            self.renew()
        self.exhausted = self.exhausted or time.thread_time() > self._deadline
        return not self.exhausted

    def readable(self) -> bool:
        return True


class Pipe(Source):
    """A binary file that is read from front to back.

    Parameters
    ----------
    file : need not be seekable; read from its position.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._ahead = io.BytesIO()  # bytes that were peeked at, from its position on
        self._position = 0
        self.start = self.peek(8)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, or all that there are."""
        ahead = self._ahead.getbuffer().nbytes - self._ahead.tell()
        if ahead < size:
            parts = [self._ahead.read()]
            while ahead < size and (data := self._source.read(size - ahead)):
                parts.append(data)
                ahead += len(data)
            self._ahead = io.BytesIO(b"".join(parts))
        start = self._ahead.tell()
        data = self._ahead.read(size)
        self._ahead.seek(start)
        return data

    def read(self, size: int = -1) -> bytes:
        data = self._ahead.read(size) or self._source.read(size) or b""
        self._position += len(data)
        return data if self._bounded(self._position) else b""

    def seekable(self) -> bool:
        return False


class FromHere:
    """A seekable binary file without its name. Its position when it is wrapped counts as the start."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._start = file, file.tell()
        self.read = file.read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset + (self._start if whence == io.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start


class Nameless(Source):
    """A :class:`FromHere` for FFmpeg."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._source = cast("BinaryIO", FromHere(file))
        self.start = head(file, 8)

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size) or b""
        return data if self._bounded(self.tell()) else b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._source.seek(offset, whence)
        except (OSError, ValueError):  # beyond what a file can have; PyAV would print a traceback
            return -1

    def tell(self) -> int:
        return self._source.tell()

    def seekable(self) -> bool:
        return True


def head(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a seekable file, whose position does not change."""
    start = file.tell()
    data = file.read(size)
    file.seek(start)
    return data
