"""WAV files whose header is wrong about the audio: lengths that wrapped at 2^32, several data chunks, trailing bytes.

A WAV file is a list of chunks: four characters, the size (32 bits), the content, padded to an even size. RF64 and BW64
files (EBU Tech 3306) hold the size of the chunk ``data`` in a chunk ``ds64``.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

from sedkit.audio.decoding import Notify
from sedkit.audio.sources import Pipe

MAGIC = (b"RIFF", b"RF64", b"BW64")
UNKNOWN = 0xFFFFFFFF
PLACEHOLDER = 0x7FFF0000  # bytes; headers with this size or more were written without knowing it
MPEG, EXTENSIBLE = (0x50, 0x55), 0xFFFE  # format tags
SUBTYPE = bytes.fromhex("000000001000800000aa00389b71")  # of EXTENSIBLE, after the format tag that it stands for
LAYOUT = 40  # bytes of the chunk fmt that are read
KINDS = {(1, 8): "u1", (1, 16): "<i2", (1, 24): "<i3", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}
LARGEST_REMAINDER = 1 << 24  # bytes after the audio that are not chunks; more than this is audio
SHORTEST_REMAINDER = 0.01  # seconds; anything shorter is not reported
MAX_CHUNKS = 1000  # of a plain file
COPIED = 1 << 16  # bytes read at once
CHUNKS = (
    b"LIST id3  ID3  bext cue  fact PEAK junk JUNK smpl inst iXML axml chna cart plst adtl note labl minf elm1 regn "
    b"umid DISP afsp _PMX data acid strc PAD  FLLR LGWV levl aXML link"
)
KNOWN = frozenset(CHUNKS[at : at + 4] for at in range(0, len(CHUNKS), 5))


def is_wav(start: bytes) -> bool:
    """Whether a file with these first 12 bytes is a WAV file."""
    return start[:4] in MAGIC and start[8:12] == b"WAVE"


def is_chunk(header: bytes, known_only: bool = False) -> bool:
    """Whether these 8 bytes are the head of a chunk rather than audio."""
    if header[:4] in KNOWN:
        return True
    printable = all(0x20 <= byte < 0x7F for byte in header[:4])
    return printable and not known_only and int.from_bytes(header[4:8], "little") < LARGEST_REMAINDER


class WavAudio(Pipe):
    """A WAV file as FFmpeg can read it from front to back: the format, then the audio of all data chunks.

    Where the header gives no length (0 or 2^32 - 1), the audio goes on to the next chunk or the end. Where it gives a
    length, and what follows are not chunks, up to 16 MiB are left out, with a notice. More than that is audio, as in
    recordings of more than 4 GiB, whose length wraps at 2^32.

    Parameters
    ----------
    file : the WAV file, at its start.
    notify : called with a message if something is left out or the length in the header is wrong.
    plain : whether the header is known to be right, see :func:`is_plain_wav`.

    Attributes
    ----------
    lacks : seconds that the header promises and the file does not have; known at its end.
    """

    def __init__(self, file: BinaryIO, notify: Notify, plain: bool = False) -> None:
        super().__init__(file)
        self._notify, self._plain = notify, plain
        self.lacks = 0.0
        self._bytes_per_second = 0
        self._read = 0  # bytes of audio
        self._left = 0  # bytes of this data chunk
        self._padded = False
        self._endless = False
        self._promised = False
        self._output = self._header()

    def read(self, size: int = -1) -> bytes:
        if self._output:
            size = len(self._output) if size < 0 else size
            data, self._output = self._output[:size], self._output[size:]
            return data
        if size < 0:
            size = COPIED
        if not self._endless and not self._left and not self._next_data():
            return b""
        data = super().read(size if self._endless else min(size, self._left))
        self._read += len(data)
        if not data and self._promised and self._bytes_per_second:
            self.lacks = self._left / self._bytes_per_second
        self._left = 0 if self._endless or not data else self._left - len(data)
        if not data:
            self._padded = False
        return data

    def measure(self, count: bool) -> float | None:
        """Seconds of audio; None if unknown. Reads to the end if the header does not say and `count` is true."""
        if not self._bytes_per_second:
            return None
        if self._plain and not self._read:
            return self._left / self._bytes_per_second
        while count and self.read(COPIED):
            pass
        return self._read / self._bytes_per_second if count else None

    def _header(self) -> bytes:
        """Read up to the audio; the header that FFmpeg gets."""
        self._skip(12)
        self._size64, layout = 0, b""
        while len(chunk := self.peek(8)) == 8:
            self._skip(8)
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                if size == UNKNOWN and self._size64:
                    size = self._size64
                self._begin(size, first=True)
                break
            content = self.peek(size) if chunk[:4] in (b"ds64", b"fmt ") and size <= COPIED else b""
            self._skip(size + size % 2)
            if chunk[:4] == b"ds64" and len(content) >= 16:
                (self._size64,) = struct.unpack("<Q", content[8:16])
            elif chunk[:4] == b"fmt " and len(content) >= 16:
                layout = chunk + content + bytes(size % 2)
                (self._bytes_per_second,) = struct.unpack("<I", content[8:12])
        unknown = UNKNOWN.to_bytes(4, "little")
        return b"RIFF" + unknown + b"WAVE" + layout + b"data" + unknown

    def _begin(self, size: int, first: bool) -> None:
        """Begin a data chunk."""
        self._left, self._padded = size, size % 2 == 1
        self._promised = size < PLACEHOLDER or self._size64 > 0
        if size == UNKNOWN or (size == 0 and first and not is_chunk(self.peek(8).ljust(8, b"\0"), known_only=True)):
            self._endless = True

    def _next_data(self) -> bool:
        """After the audio of a data chunk: go to the next one; False if there is none."""
        skip = int(self._padded)
        self._padded = False
        while len(header := self.peek(skip + 8)[skip:]) == 8:
            if not is_chunk(header):
                return self._remainder()
            self._skip(skip + 8)
            skip = 0
            size = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                self._begin(size, first=False)
                if size:
                    return True
            elif self._skip(size + size % 2) < size:
                break
        return False

    def _remainder(self) -> bool:
        """Decide what bytes are that follow the audio and are not chunks; whether they are audio."""
        rest = len(self.peek(LARGEST_REMAINDER + 1))
        seconds = rest / self._bytes_per_second if self._bytes_per_second else 1.0
        if rest > LARGEST_REMAINDER:
            self._notify("the header gives too short a length; sedkit reads the audio to the end of the file")
            self._endless = True
            return True
        if seconds >= SHORTEST_REMAINDER:
            self._notify(f"left out {rest} bytes after the audio ({seconds:.1f} s if they are audio)")
        self._skip(rest)
        return False

    def _skip(self, size: int) -> int:
        """Skip bytes that are not audio; returns how many there were."""
        left = size
        while left > 0 and (data := super().read(min(left, COPIED))):
            left -= len(data)
        return size - left


class Pcm(NamedTuple):
    """Where uncompressed samples of one or two channels lie in a file.

    Attributes
    ----------
    start, end : bytes from the start of the file.
    rate : Hz.
    channels : 1 or 2.
    kind : of the samples: NumPy's name of the type, or ``"<i3"`` for 24 bits.
    """

    start: int
    end: int
    rate: int
    channels: int
    kind: str


class WavLength(NamedTuple):
    """What the chunks of a WAV file say of its length.

    Attributes
    ----------
    plain : whether the header is right about the audio, or promises more than there is; and libsndfile can read it.
    lacks : seconds that it promises and the file does not have.
    pcm : the samples of a plain file, if they are not compressed and have at most two channels.
    """

    plain: bool
    lacks: float = 0.0
    pcm: Pcm | None = None


def is_plain_wav(file: BinaryIO) -> bool:
    """Whether libsndfile reads the whole audio of a seekable WAV file, whose position does not change."""
    return wav_length(file).plain


def wav_length(file: BinaryIO) -> WavLength:
    """Read the chunks of a seekable WAV file, whose position does not change."""
    start = file.tell()
    try:
        return _wav_length(file, start)
    finally:
        file.seek(start)


def _wav_length(file: BinaryIO, start: int) -> WavLength:
    end = file.seek(0, io.SEEK_END)
    position, size64, found, per_second, lacks = start + 12, 0, False, 0, 0
    layout, audio = b"", (0, 0)
    for _ in range(MAX_CHUNKS):
        if position + 8 > end:
            break
        file.seek(position)
        header = file.read(8)
        size = int.from_bytes(header[4:], "little")
        if found and not is_chunk(header):
            return WavLength(bool(per_second) and (end - position) / per_second < SHORTEST_REMAINDER)
        if header[:4] == b"data":
            if found or not size:
                return WavLength(False)
            if size == UNKNOWN and size64:
                size = size64
            lacks = position + 8 + size - end if size < PLACEHOLDER or size64 else 0
            found, audio = True, (position + 8, min(end, position + 8 + size))
        elif header[:4] == b"ds64":
            (size64,) = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))
        elif header[:4] == b"fmt ":
            layout = file.read(min(size, LAYOUT)).ljust(LAYOUT, b"\0")
            if int.from_bytes(layout[:2], "little") in MPEG:
                return WavLength(False)
            (per_second,) = struct.unpack("<I", layout[8:12])
        position += 8 + size + size % 2
    else:
        return WavLength(False)
    return WavLength(True, max(0, lacks) / per_second if per_second else 0.0, _pcm(layout, *audio))


def _pcm(layout: bytes, start: int, end: int) -> Pcm | None:
    """The samples from `start` to `end`, by the content of the chunk ``fmt``."""
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", layout[:16] or bytes(16))
    if tag == EXTENSIBLE and layout[18:20] == layout[14:16] and layout[26:40] == SUBTYPE:
        tag = int.from_bytes(layout[24:26], "little")
    kind = KINDS.get((tag, bits))
    if kind is None or channels not in (1, 2) or 8 * block != channels * bits or end - start < block:
        return None
    return Pcm(start, end, rate, channels, kind)
