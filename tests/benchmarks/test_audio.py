"""Recordings for the benchmarks: different every time, without silence, and labelled real or synthetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.audio import FRAME, QUIET, Recordings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of three clips whose second half is silent."""
    audio = tmp_path / "esc50" / "audio"
    audio.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        clip = np.concatenate([0.5 * rng.uniform(-1, 1, 40_000), np.zeros(40_000)])
        soundfile.write(audio / f"{number}.ogg", clip, 16_000, format="OGG", subtype="VORBIS")
    return tmp_path


def test_recordings_differ_are_loud_and_have_the_requested_length(folder):
    recordings = Recordings(folder)
    first, second = recordings.many(2, 7.3)
    assert recordings.real
    assert first.dtype == np.float32
    assert len(first) == len(second) == 116_800
    assert not np.array_equal(first, second)
    assert np.abs(first).max() <= 1
    assert np.abs(first[: 73 * FRAME].reshape(-1, FRAME)).max(axis=1).min() > 0.1 * QUIET


def test_write_wav_in_chunks_at_any_rate(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("benchmarks.audio.CHUNK", 2)
    for rate in (16_000, 48_000):
        info = soundfile.info(Recordings(folder).write_wav(tmp_path / "x.wav", 5.5, rate))
        assert (info.samplerate, info.channels, info.duration) == (rate, 1, 5.5)


def test_short_files_are_real_clips_if_there_are_enough(folder, tmp_path):
    recordings = Recordings(folder)
    assert sorted(recordings.short_files(3, tmp_path / "generated")) == sorted(folder.glob("esc50/audio/*.ogg"))
    generated = recordings.short_files(4, tmp_path / "generated")
    assert [soundfile.info(path).duration for path in generated] == [5.0] * 4


def test_without_clips_recordings_are_synthetic_and_labelled_so(tmp_path):
    recordings = Recordings(tmp_path / "none")
    first, second = recordings.many(2, 3)
    assert not recordings.real
    assert "SYNTHETIC" in recordings.describe()
    assert not np.array_equal(first, second)
    assert 0.02 < first.std() < 1
