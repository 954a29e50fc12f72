"""Recognition of audio formats by the first bytes of a stream, so that no file is taken for raw samples.

A container begins with a magic number, mostly of four bytes or more. MP3, AAC (ADTS) and MPEG-TS have no magic number:
they are sequences of packets, each with a short sync word. They are recognised by several packets in a row.
"""

from __future__ import annotations

from collections.abc import Callable

HEAD = 8192  # bytes that are enough to recognise every format; three packets of MP3 are at most 4.3 kB

_MAGIC = (  # offset, bytes
    (0, b"RIFF"),  # wav, avi
    (0, b"RIFX"),
    (0, b"RF64"),
    (0, b"BW64"),
    (0, b"riff\x2e\x91\xcf\x11"),  # w64
    (0, b"FORM"),  # aiff
    (0, b"caff"),
    (0, b".snd"),
    (0, b"fLaC"),
    (0, b"OggS"),
    (0, b"ID3"),  # tags before mp3, aac, ...
    (0, b"\x1aE\xdf\xa3"),  # matroska, webm
    (0, b"FLV\x01"),
    (0, b"0&\xb2u\x8ef\xcf\x11"),  # asf: wma, wmv
    (0, b"#!AMR"),
    (0, b"wvPK"),
    (0, b"MAC "),
    (0, b"TTA1"),
    (0, b"nut/multimedia container"),
    (0, b"\0\0\x01\xba"),  # mpeg program stream
    (0, b"\x7f\xfe\x80\x01"),  # dts
    *((4, kind) for kind in (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"wide", b"free", b"skip")),  # mp4, mov
)
_TS_PACKET = 188  # bytes

_MPEG_RATES = {  # kbit/s by [MPEG-1 or later, layer]; ISO/IEC 11172-3, 2.4.2.3, and 13818-3
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def is_container(head: bytes) -> bool:
    """Whether a stream begins with the magic number of a container. Needs 24 bytes of it, if there are as many."""
    return any(head.startswith(magic, offset) for offset, magic in _MAGIC)


def may_be_packets(head: bytes) -> bool:
    """Whether the first bytes can be those of a packet: then :func:`is_packets` tells, with more of the stream."""
    return head[:1] == b"\x47" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")


def is_packets(head: bytes, anywhere: bool = False) -> bool:
    """Whether a stream is MPEG audio (MP3), ADTS (AAC) or MPEG-TS.

    Parameters
    ----------
    head : the first bytes of the stream; :data:`HEAD` bytes are enough.
    anywhere : whether the first whole packet may begin later, as if one tunes in to a radio station.
    """
    starts = range(len(head)) if anywhere else range(1)
    return any(
        may_be_packets(head[start : start + 2])
        and (
            _is_transport_stream(head, start)
            or _is_chain(head, start, _mpeg_frame_length)
            or _is_chain(head, start, _adts_frame_length)
        )
        for start in starts
    )


def _is_transport_stream(head: bytes, start: int) -> bool:
    packets = head[start : start + 4 * _TS_PACKET]
    return packets[::_TS_PACKET] == b"\x47" * 4 and packets.count(b"\x47") < len(packets) / 2  # not a constant


def _is_chain(head: bytes, start: int, frame_length: Callable[[bytes], int]) -> bool:
    """Whether three headers of the same stream follow one another, each where the frame before it ends."""
    at = start
    for _ in range(3):
        header = head[at : at + 7]
        same_stream = len(header) == 7 and header[1] == head[start + 1] and (header[2] ^ head[start + 2]) & 0x0C == 0
        length = frame_length(header) if same_stream and header[0] == 0xFF else 0
        if not length:
            return False
        at += length
    return True


def _mpeg_frame_length(header: bytes) -> int:
    """Length in bytes of a frame of MPEG audio; 0 if this is no header."""
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)  # version 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if header[1] < 0xE0 or version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return 0
    bits = 1000 * _MPEG_RATES[version == 3, layer][bit_rate - 1]
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def _adts_frame_length(header: bytes) -> int:
    """Length in bytes of an ADTS frame; 0 if this is no header. ISO/IEC 13818-7, 6.2."""
    if header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else 0
