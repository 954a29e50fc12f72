"""When a recording began: from the metadata of a WAV file, otherwise from the name of the file.

=====================  ==========================================================================================
GUANO (chunk guan)     ``Timestamp: 2024-05-01T05:30:00+02:00`` (Wildlife Acoustics, Titley; guano-md.org)
comment (LIST, ICMT)   ``Recorded at 05:30:00 01/05/2024 (UTC+2) by AudioMoth ...``
Broadcast (bext)       OriginationDate and OriginationTime (EBU Tech 3285); they name no time zone
date (LIST, ICRD)      ``2024-05-01T05:30:00``; a date without a time is not used
name                   date and time next to each other, as digits: ``20240501_053000.WAV`` (AudioMoth),
                       ``SM4_20240501_053000.wav``, ``SM3_0+1_20240501$053000.wav`` (Song Meter),
                       ``20240501T053000+1000_REC.wav`` (BAR), ``2024-05-01 05.30.00.m4a``
=====================  ==========================================================================================

The first of these that is there decides, except that a name with a time zone goes before metadata without one. In a
name, only digits that a time zone can have are one: 1 to 14 hours and 00, 30 or 45 minutes, or all zeros. Names of
AudioMoth are in UTC, those of a Song Meter in the local time that it was set to; no name says which.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import BinaryIO

from sedkit.audio.wav import is_wav

MAX_CHUNK = 1 << 16  # bytes that are read of a chunk of metadata
MAX_METADATA = 1 << 20  # bytes that are read of all of them
MAX_CHUNKS, MAX_ENTRIES = 1000, 1000  # of a file; of a list
FIRST_YEAR, LAST_YEAR = 1950, 2099  # other years are numbers of another kind

NAME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)"  # date
    r"[-_T $+.]{1,3}"
    r"(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)(?!\d)"  # time
    r"(?:[.,]\d{1,6}(?=Z|[+-]\d\d))?"  # fraction
    r"(Z(?![A-Za-z])|[+-](?:(?:0[1-9]|1[0-3]):?(?:00|30|45)|(?:00|14):?00)(?!\d))?"  # zone; -0030 is a number
)
AUDIOMOTH = re.compile(r"at (\d\d):(\d\d):(\d\d) (\d\d)/(\d\d)/(\d{4}) \(UTC(?:([+-]\d{1,2})(?::(\d\d))?)?\)")
BEXT_DATE, BEXT_TIME = slice(320, 330), slice(330, 338)  # characters with any separators


def recording_start(path: str | os.PathLike[str], zone: tzinfo = UTC, file: BinaryIO | None = None) -> datetime | None:
    """When a recording began, in UTC; None if neither its metadata nor its name tells.

    Parameters
    ----------
    path : of the recording. If it is no file, or cannot be read, only its name counts.
    zone : of a time that is given without a time zone.
    file : the recording, read from its start; then `path` is only its name.
    """
    metadata: Iterable[datetime] = metadata_times(path) if file is None else metadata_times_in(file)
    found = [*metadata, *name_times(os.fsdecode(path))]
    chosen = next((time for time in found if time.tzinfo is not None), found[0] if found else None)
    if chosen is None:
        return None
    try:
        return (chosen if chosen.tzinfo is not None else chosen.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        return None


def parse_time(text: str) -> datetime | None:
    """Parse a date and a time in ISO 8601; None if there is anything else, or a date alone.

    The first and the last year that Python knows are left out: a time zone or a length could lead beyond them.
    """
    try:
        time = datetime.fromisoformat(text.strip()) if len(text.strip()) > 10 else None
    except ValueError:
        return None
    return time if time is not None and MINYEAR < time.year < MAXYEAR else None


def name_times(path: str) -> Iterator[datetime]:
    """The date and time in a file name; the last one if there are several."""
    for match in reversed(list(NAME.finditer(Path(path).name))):
        *numbers, zone = match.groups()
        try:
            time = datetime(*map(int, numbers))  # type: ignore[arg-type]
        except ValueError:
            continue
        if FIRST_YEAR <= time.year <= LAST_YEAR:
            yield time if zone is None else datetime.fromisoformat(f"{time.isoformat()}{zone}")
            return


def metadata_times(path: str | os.PathLike[str]) -> Iterator[datetime]:
    """The times in the metadata of a WAV file, the most reliable first; none for other files."""
    try:
        if not os.path.isfile(path):
            return
        with open(path, "rb") as file:
            yield from metadata_times_in(file)
    except OSError:
        return


def metadata_times_in(file: BinaryIO) -> list[datetime]:
    """The times of :func:`metadata_times`, from an open file, which is read from its start."""
    file.seek(0)
    times = {rank: time for rank, time in _times(file) if time is not None and _plausible(time)}
    return [times[rank] for rank in sorted(times)]


def _plausible(time: datetime) -> bool:
    return FIRST_YEAR <= time.year <= LAST_YEAR


def _times(file: BinaryIO) -> Iterator[tuple[int, datetime | None]]:
    """Times in the chunks of a WAV file, each with the rank of its source; the audio is skipped."""
    for name, content in _metadata_chunks(file):
        if name == b"guan":
            yield 0, _guano_time(content.decode("utf-8", "replace"))
        elif name == b"LIST" and content[:4] == b"INFO":
            info = dict(_info(content[4:]))
            yield 1, _audiomoth_time(info.get(b"ICMT", ""))
            yield 3, parse_time(info.get(b"ICRD", ""))
        elif name == b"bext":
            date, time = (re.findall(rb"\d+", content[field]) for field in (BEXT_DATE, BEXT_TIME))
            yield 2, parse_time(f"{b'-'.join(date).decode()}T{b':'.join(time).decode()}")


def _metadata_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks that may hold a time."""
    size64, left = None, MAX_METADATA
    if not is_wav(file.read(12)):
        return
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = head[:4], int.from_bytes(head[4:], "little")
        content = file.read(min(size, MAX_CHUNK, left)) if name in (b"guan", b"LIST", b"bext", b"ds64") else b""
        left -= len(content)
        if name == b"ds64":
            size64 = int.from_bytes(content[8:16], "little")
        if name == b"data" and size == 0xFFFFFFFF:
            if size64 is None:
                return  # no length: the rest of the file is audio
            size = size64
        yield name, content
        file.seek(size - len(content) + size % 2, os.SEEK_CUR)


def _info(content: bytes) -> Iterator[tuple[bytes, str]]:
    """Names and texts in a list of the type INFO."""
    at = 0
    for _ in range(MAX_ENTRIES):
        if at + 8 > len(content):
            return
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        yield content[at : at + 4], content[at + 8 : at + 8 + size].split(b"\0")[0].decode("utf-8", "replace")
        at += 8 + size + size % 2


def _guano_time(text: str) -> datetime | None:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Timestamp":
            return parse_time(value)
    return None


def _audiomoth_time(comment: str) -> datetime | None:
    match = AUDIOMOTH.search(comment)
    if match is None:
        return None
    hour, minute, second, day, month, year = map(int, match.groups()[:6])
    ahead, minutes = int(match[7] or 0), int(match[8] or 0)
    offset = timedelta(hours=ahead, minutes=-minutes if (match[7] or "").startswith("-") else minutes)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
    except ValueError:
        return None
