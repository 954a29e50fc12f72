"""What a file is, by its content and never by its name: formats for libsndfile, and headers of MP3, Ogg and CAF."""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO, NamedTuple

from sedkit.audio.sources import Pipe, head
from sedkit.audio.wav import MAX_CHUNKS, is_plain_wav, is_wav

MAX_ID3 = 1 << 25  # bytes; longer tags (cover art) are not searched for what follows them
XING_HEAD = 4096  # bytes of an MP3's first frame that may hold its Info tag
MAX_TABLE = 1 << 24  # bytes; of an ALAC file of a year
CAF_SIZES = re.compile(rb"([\x80-\xff]{0,4}[\x00-\x7f])*")  # of packets: numbers of up to five times 7 bits
LAYER_3_SAMPLES = {3: 1152, 2: 576, 0: 576}  # per frame, by the version bits of the header (MPEG 1, 2, 2.5)


def is_for_libsndfile(file: BinaryIO) -> bool:
    """Whether libsndfile reads a seekable file whole, by its first bytes and its structure. Its position stays.

    Its parsers of rare formats loop on damaged files or print messages, and some formats have no magic number. It stops
    at the end of the first of several FLAC or MP3 streams.
    """
    start = head(file, 12)
    if is_wav(start):
        return is_plain_wav(file)
    if start[:4] == b"OggS":
        return is_plain_ogg(file)
    if start[:4] == b"caff":
        return is_plain_caf(file)
    return (
        start[:4] in (b".snd", b"riff")
        or (start[:4] == b"FORM" and start[8:] in (b"AIFF", b"AIFC"))
        or (start[:4] == b"RIFX" and start[8:] == b"WAVE")
    )


def after_id3(pipe: Pipe) -> int:
    """Bytes before what follows the ID3 tags at the position of a file; at least MAX_ID3 if they are longer."""
    at = 0
    while pipe.peek(at + 10)[at : at + 3] == b"ID3" and at < MAX_ID3:
        tag = pipe.peek(at + 10)[at:]
        at += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=False))
    return at


class Mp3Length(NamedTuple):
    """The length of an MP3 file by its Info tag: frames, samples per frame, and how many samples are not padding."""

    frames: int
    frame: int
    samples: int


def mp3_length(pipe: Pipe) -> Mp3Length | None:
    """Read the Info tag that LAME and FFmpeg write into an MP3 file's first frame; None if there is none.

    Format: http://gabriel.mp3-tech.org/mp3infotag.html. FFmpeg uses its padding only in seekable files.
    """
    at = after_id3(pipe)
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
    """Whether a seekable Ogg file has one stream, and no page of it is missing or damaged. Its position stays.

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
        return not page  # anything else between the pages is damage
    finally:
        file.seek(start)


def is_plain_caf(file: BinaryIO) -> bool:
    """Whether a seekable CAF file has no ALAC, or has whole tables of its packets (``pakt``). Its position stays.

    libsndfile prints messages about tables that are missing or damaged.
    Format: Apple Core Audio Format Specification 1.0.
    """
    start = file.tell()
    end = file.seek(0, io.SEEK_END)
    at, codec, tables = start + 8, b"", 0
    try:
        for _ in range(MAX_CHUNKS):
            file.seek(min(at, end))
            if len(header := file.read(12)) < 12:
                return codec != b"alac" or tables > 0
            kind, size = header[:4], int.from_bytes(header[4:], "big")
            if kind == b"desc":
                codec = file.read(12)[8:]
            elif kind == b"pakt":
                tables += 1
                if not 24 <= size <= min(MAX_TABLE, end - at - 12) or not CAF_SIZES.fullmatch(file.read(size), 24):
                    return False
            at += 12 + size
        return False
    finally:
        file.seek(start)
