"""When a recording began: names of recorders, metadata of WAV files."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from sedkit.audio.recording_time import MAX_ENTRIES, MAX_METADATA, metadata_times_in, recording_start

MORNING = datetime(2024, 5, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("20240501_053000.WAV", MORNING),  # AudioMoth
        ("20240501_053000T.WAV", MORNING),  # AudioMoth, triggered
        ("SM4_20240501_053000.wav", MORNING),  # Song Meter
        ("SM304472_0+1_20240501$053000.wav", MORNING),  # Song Meter 3
        ("20240501T053000Z.flac", MORNING),
        ("20240501T153000+1000_REC [-20.1+148.2].flac", MORNING),  # BAR
        ("20240501_053000.123+0000.wav", MORNING),
        ("20240501T193000+1400.wav", MORNING),
        ("20240501T111500+05:45.wav", MORNING),
        ("20240501_053000-0001.wav", MORNING),  # numbers that no time zone has
        ("20240501_053000-0030.wav", MORNING),
        ("20240501_053000+0015.wav", MORNING),
        ("20240501_053000-0115.wav", MORNING),
        ("20240501T023000-0300.wav", MORNING),
        ("20240501_053000-2500.ogg", MORNING),
        ("20240501_053000+1430.wav", MORNING),
        ("20240501_053000.123-0042.wav", MORNING),
        ("2024-05-01 05.30.00.m4a", MORNING),
        ("2024-05-01T05:30:00.wav", MORNING),
        ("first_20190101_000000_20240501_053000.wav", MORNING),
        ("20240501.wav", None),
        ("20240501_053000123.wav", None),
        ("20241501_053000.wav", None),  # no such month
        ("20240501_253000.wav", None),
        ("1-20133-A-39.ogg", None),
        ("ZOOM0001.WAV", None),
        ("18991231_235959.wav", None),
        ("-", None),
    ],
)
def test_names(name: str, start: datetime | None):
    assert recording_start(name) == start
    assert recording_start(f"/data/20200101_000000/{name}") == start


def test_zone_of_times_without_one():
    berlin = timezone(timedelta(hours=2))
    assert recording_start("SM4_20240501_073000.wav", berlin) == MORNING
    assert recording_start("20240501T053000Z.wav", berlin) == MORNING


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav(*chunks: bytes) -> bytes:
    sound = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)) + chunk(b"data", bytes(200))
    return b"RIFF" + struct.pack("<I", 0) + b"WAVE" + chunks[0] + sound + b"".join(chunks[1:])


def info(**texts: str) -> bytes:
    parts = [chunk(name.encode(), text.encode() + b"\0") for name, text in texts.items()]
    return chunk(b"LIST", b"INFO" + b"".join(parts))


def bext(date: str, time: str) -> bytes:
    return chunk(b"bext", bytes(320) + date.encode() + time.encode() + bytes(264))


GUANO = chunk(b"guan", b"GUANO|Version: 1.0\nMake: Wildlife Acoustics, Inc.\nTimestamp: 2024-05-01T07:30:00+02:00\n")
COMMENT = "Recorded at 05:30:00 01/05/2024 (UTC) by AudioMoth 249BC30461CBB1E6 at medium gain while battery was 4.2V."


@pytest.mark.parametrize(
    ("chunks", "start"),
    [
        ([b"", GUANO], MORNING),  # after the audio
        ([info(IART="AudioMoth", ICMT=COMMENT)], MORNING),
        ([info(ICMT=COMMENT.replace("(UTC)", "(UTC-5)"))], MORNING + timedelta(hours=5)),
        ([info(ICMT=COMMENT.replace("(UTC)", "(UTC+5:45)"))], MORNING - timedelta(hours=5, minutes=45)),
        ([bext("2024-05-01", "05:30:00")], MORNING),
        ([bext("2024:05:01", "05-30-00")], MORNING),
        ([info(ICRD="2024-05-01T05:30:00")], MORNING),
        ([info(ICRD="2024-05-01")], None),  # no time
        ([bext("0000-00-00", "00:00:00")], None),
        ([bext("\0" * 10, "\0" * 8)], None),
        ([bext("2024-05-01", "06:00:00") + info(ICMT=COMMENT)], MORNING),  # the one with a time zone decides
        ([info(ICMT=COMMENT.replace("01/05", "99/99"))], None),
        ([chunk(b"LIST", b"INFO" + b"ICMT\xff\xff\xff\x7f")], None),
        ([b""], None),
    ],
)
def test_metadata(chunks: list[bytes], start: datetime | None, tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(wav(*chunks))
    assert recording_start(tmp_path / "a.wav") == start


def test_metadata_that_is_read_is_bounded():
    class Counted(io.BytesIO):
        total = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.total += len(data)
            return data

    entries = chunk(b"LIST", b"INFO" + bytes(1 << 20))  # 131,072 entries without a name
    file = Counted(wav(entries * 100, info(ICMT=COMMENT)))
    assert metadata_times_in(file) == []
    assert file.total < 1.1 * MAX_METADATA
    (found,) = metadata_times_in(Counted(wav(info(ICMT=COMMENT), entries)))
    assert found == MORNING
    crowded = chunk(b"LIST", b"INFO" + bytes(8) * MAX_ENTRIES + chunk(b"ICMT", COMMENT.encode()))
    assert metadata_times_in(io.BytesIO(wav(crowded))) == []
    coded = bext("2024-05-01", "05:30:00")[8:] + b"A=PCM,F=48000\r\n" * 10_000  # a history longer than what is read
    assert metadata_times_in(io.BytesIO(wav(chunk(b"bext", coded), GUANO))) == [MORNING, MORNING.replace(tzinfo=None)]


def test_name_with_a_zone_goes_before_metadata_without_one(tmp_path: Path):
    path = tmp_path / "20240501T153000+1000.wav"
    path.write_bytes(wav(bext("2024-05-01", "15:30:00")))
    assert recording_start(path) == MORNING
    path = tmp_path / "20200101_000000.wav"
    path.write_bytes(wav(bext("2024-05-01", "05:30:00")))
    assert recording_start(path) == MORNING


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", wav(b"")[:40], b"RIFF\0\0\0\0WAVE" + b"\xff" * 100, b"fLaC" + bytes(50)]
)
def test_damaged_files_have_only_their_name(content: bytes, tmp_path: Path):
    path = tmp_path / "20240501_053000.wav"
    path.write_bytes(content)
    assert recording_start(path) == MORNING
    assert recording_start(tmp_path) is None
