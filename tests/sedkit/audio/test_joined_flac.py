"""FLAC files that were joined are read whole, also where FFmpeg by itself loses streams."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.audio.cutting import DecodedCutter, Part, PcmCutter, open_cutter
from sedkit.audio.flac import FlacStreams
from sedkit.audio.reading import open_audio, probe
from sedkit.errors import AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import decode, piped

RATE = 16_000
TAG = b"ID3\3\0\0\0\0\0\x20" + bytes(32)


def flac(samples: int, rate: int = RATE, channels: int = 1, subtype: str = "PCM_16", seed: int = 0) -> bytes:
    sound = np.stack([make_sound(samples / rate, rate, seed=seed)[:samples]] * channels, axis=1)
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype, format="FLAC")
    return file.getvalue()


FIRST = flac(20_000)


@pytest.mark.parametrize(
    ("second", "seconds"),
    [
        (flac(30_000, seed=1), 1.875),
        (flac(30_000, subtype="PCM_24", seed=1), 1.875),
        (flac(30_000, channels=2, seed=1), 1.875),
        (flac(90_000, 48_000, seed=1), 1.875),
        (flac(30_000, 8_000, seed=1), 3.75),
        (flac(777, subtype="PCM_24", seed=1), 777 / RATE),
    ],
    ids=["alike", "bits", "channels", "higher rate", "lower rate", "short"],
)
@pytest.mark.parametrize("tag", [b"", TAG], ids=["", "tag"])
def test_joined_streams_are_read_one_after_the_other(tmp_path: Path, tag: bytes, second: bytes, seconds: float):
    path = tmp_path / "joined.flac"
    path.write_bytes(tag + FIRST + second + FIRST)
    joined, alone = decode(path), decode(io.BytesIO(FIRST))
    assert joined.duration == pytest.approx(2.5 + seconds, abs=1e-3)
    np.testing.assert_array_equal(piped(path).samples, joined.samples)
    for found in (joined.samples[:20_000], joined.samples[-20_000:]):
        np.testing.assert_allclose(found, alone.samples, rtol=0, atol=0.01)  # of which the offset is removed as a whole
    assert probe(path).duration == pytest.approx(joined.duration, abs=1e-3)
    assert probe(path, count=False).duration == pytest.approx(1.25)


def test_a_joined_file_is_cut_on_its_whole_length(tmp_path: Path):
    path, single = tmp_path / "joined.flac", tmp_path / "single.flac"
    path.write_bytes(FIRST + flac(30_000, subtype="PCM_24", seed=1))
    single.write_bytes(FIRST)
    with open_cutter(str(single), print) as cutter:
        assert isinstance(cutter, PcmCutter)
    part = Part(2.0, 2.5, tmp_path / "part.flac")
    with open_cutter(str(path), print) as cutter:
        assert isinstance(cutter, DecodedCutter)
        assert cutter.duration == pytest.approx(3.125)
        assert list(cutter.cut([part])) == [part]
    found, _ = soundfile.read(part.path)
    np.testing.assert_allclose(found, make_sound(30_000 / RATE, RATE, seed=1)[12_000:20_000], atol=1e-4)


def test_damage_in_a_later_stream_has_its_time(tmp_path: Path):
    path = tmp_path / "joined.flac"
    second = bytearray(flac(80_000, seed=1))
    second[len(second) // 2 : len(second) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(FIRST + second)
    with open_audio(path) as stream:
        for _ in stream:
            pass
    assert stream.duration == pytest.approx(6.25, abs=0.3)
    (notice,) = stream.notices
    assert "damaged at 3." in notice
    path.write_bytes(FIRST + b"fLaC\0\0\0\x22" + bytes(10))
    with pytest.raises(AudioError, match=r"joined\.flac: an incomplete or damaged FLAC file"):
        decode(path)
    assert probe(path).duration is None


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 1000, -1])
def test_streams_end_at_the_next_one_whatever_is_read_at_once(size: int):
    """Bytes that only look like the start of a stream are part of one."""
    parts = [b"fLaC\0\0\0\x22" + body for body in (b"one fLaC\0\0\0 fLaC fLfLaC", b"", b"twof", b"fLaC\x80\0")]
    parts[0] = b"ID3 " + parts[0]
    file = FlacStreams(io.BytesIO(b"".join(parts)))
    found = []
    while True:
        found.append(b"".join(iter(lambda: file.read(size), b"")))
        if not file.advance():
            break
    assert found == parts
