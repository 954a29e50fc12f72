"""What a file is, by its content and never by its name: byte sources without a name, ID3, MP3 and Ogg headers."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

MAX_ID3 = 1 << 25  # bytes; longer tags (cover art) are not searched for what follows them
XING_HEAD = 4096  # bytes of an MP3's first frame that may hold its Info tag
LAYER_3_SAMPLES = {3: 1152, 2: 576, 0: 576}  # per frame, by the version bits of the header (MPEG 1, 2, 2.5)


class Pipe(io.RawIOBase):
    """A binary file that is read from front to back, without its name, which FFmpeg would take for a hint.

    Parameters
    ----------
    file : need not be seekable; read from its position.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._source = file
        self._ahead = io.BytesIO()  # bytes that were peeked at, from its position on

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
        return self._ahead.read(size) or self._source.read(size) or b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class Nameless(io.RawIOBase):
    """A seekable binary file without its name. Its position when it is wrapped counts as the start."""

    def __init__(self, file: BinaryIO) -> None:
        self._source, self._start = file, file.tell()

    def read(self, size: int = -1) -> bytes:
        return self._source.read(size) or b""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._source.seek(offset + (self._start if whence == io.SEEK_SET else 0), whence) - self._start

    def tell(self) -> int:
        return self._source.tell() - self._start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def head(file: BinaryIO, size: int) -> bytes:
    """The next bytes of a seekable file, whose position does not change."""
    start = file.tell()
    data = file.read(size)
    file.seek(start)
    return data


def may_be_mpeg(start: bytes) -> bool:
    """Whether a file with these first 3 bytes may be MPEG audio (mp3, aac). libsndfile does not read it whole."""
    return start[:3] == b"ID3" or (start[:1] == b"\xff" and start[1:2] >= b"\xe0")


class Mp3Length(NamedTuple):
    """The length of an MP3 file by its Info tag: frames, samples per frame, and how many samples are not padding."""

    frames: int
    frame: int
    samples: int


def mp3_length(pipe: Pipe) -> Mp3Length | None:
    """Read the Info tag that LAME and FFmpeg write into an MP3 file's first frame; None if there is none.

    Format: http://gabriel.mp3-tech.org/mp3infotag.html. FFmpeg uses its padding only in seekable files.
    """
    at = 0
    while pipe.peek(at + 10)[at : at + 3] == b"ID3" and at < MAX_ID3:
        tag = pipe.peek(at + 10)[at:]
        at += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=False))
    frame = pipe.peek(at + XING_HEAD)[at:] if at < MAX_ID3 else b""
    if len(frame) < 200 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:  # sync, layer 3
        return None
    version, mono = frame[1] >> 3 & 3, frame[3] >> 6 == 3
    tag = frame[4 + ((17 if mono else 32) if version == 3 else (9 if mono else 17)) :]
    flags = int.from_bytes(tag[4:8], "big")
    if tag[:4] not in (b"Xing", b"Info") or not flags & 1 or version not in LAYER_3_SAMPLES:
        return None
    frames, size = int.from_bytes(tag[8:12], "big"), LAYER_3_SAMPLES[version]
    lame = tag[12 + 4 * bool(flags & 2) + 100 * bool(flags & 4) + 4 * bool(flags & 8) :]
    delays = int.from_bytes(lame[21:24], "big") if lame[:4] in (b"LAME", b"Lavf", b"Lavc") else 0
    padding = (delays >> 12) + (delays & 0xFFF)
    return Mp3Length(frames, size, max(0, frames * size - padding)) if padding else None


def is_plain_ogg(file: BinaryIO) -> bool:
    """Whether a seekable Ogg file has one stream, and no page of it is missing. Its position does not change.

    libsndfile stops at the end of the first of several streams and ignores missing pages.
    Format of a page: RFC 3533, section 6.
    """
    start = file.tell()
    streams, expected = set[bytes](), 0
    try:
        while len(page := file.read(27)) == 27 and page[:4] == b"OggS":
            (number,) = struct.unpack("<I", page[18:22])
            streams.add(page[14:18])
            if len(streams) > 1 or number != expected or (page[5] & 2 and number):
                return False
            expected += 1
            file.seek(sum(file.read(page[26])), io.SEEK_CUR)
        return True
    finally:
        file.seek(start)
