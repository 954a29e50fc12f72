"""sedkit.audio: times count from the start of the container, and gaps of its time stamps are silence."""

from __future__ import annotations

import numpy as np
import pytest

from sedkit.audio.reading import probe
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, decode, onset, piped, write

RATE = 48_000
CLICK = np.zeros(6 * RATE, np.float32)  # a tone from 1 s to 2 s
CLICK[RATE : 2 * RATE] = 0.5 * np.sin(2 * np.pi * 440 / RATE * np.arange(RATE))

CONTAINERS = [("mkv", "aac"), ("mkv", "libopus"), ("mp4", "aac"), ("ts", "aac"), ("mov", "pcm_s16le"), ("mkv", "flac")]


@pytest.mark.parametrize(("ending", "codec"), CONTAINERS)
def test_audio_that_starts_after_the_film(tmp_path, ending, codec):
    path = tmp_path / f"film.{ending}"
    write(path, [Audio(CLICK, RATE, codec, start=4)], video=12)
    film = decode(path)
    assert onset(film.samples) == pytest.approx(5, abs=0.03)
    assert film.duration == pytest.approx(10, abs=0.06)
    assert probe(path).duration == pytest.approx(film.duration, abs=0.03)
    if ending in ("mkv", "ts"):
        np.testing.assert_array_equal(piped(path).samples, film.samples)


@pytest.mark.parametrize(("ending", "codec"), CONTAINERS)
def test_audio_that_starts_with_the_film_or_before_it(tmp_path, ending, codec):
    path = tmp_path / f"film.{ending}"
    write(path, [Audio(CLICK, RATE, codec)], video=12)
    film = decode(path)
    assert onset(film.samples) == pytest.approx(1, abs=0.03)
    assert film.duration == pytest.approx(6, abs=0.06)
    assert probe(path).duration == pytest.approx(film.duration, abs=0.03)


@pytest.mark.parametrize(("ending", "codec"), [("mka", "libopus"), ("mka", "aac"), ("ts", "aac"), ("mkv", "pcm_s16le")])
@pytest.mark.parametrize("lost", [0.02, 0.5, 3.0])
def test_lost_packets_are_silence(tmp_path, ending, codec, lost):
    path = tmp_path / f"lost.{ending}"
    sound = make_sound(12, RATE, seed=1)
    sound[8 * RATE : 9 * RATE] = 0
    sound[8 * RATE + 100 : 8 * RATE + 4000] = 0.9
    write(path, [Audio(sound, RATE, codec, keep=lambda seconds: not 2.99 < seconds < 3 + lost)])
    gap = decode(path)
    assert gap.duration == pytest.approx(12, abs=0.06)
    assert probe(path).duration == pytest.approx(gap.duration, abs=0.03)
    assert 8 + onset(gap.samples[8 * 16_000 : 9 * 16_000], 0.4) == pytest.approx(8, abs=0.04)
    if lost > 0.1:
        assert np.abs(gap.samples[round(3.1 * 16_000) : round((2.9 + lost) * 16_000)]).max() < 1e-3
    np.testing.assert_array_equal(piped(path).samples, gap.samples)


def test_jitter_of_time_stamps_is_no_gap(tmp_path):
    sound = make_sound(5, RATE, seed=1)
    for ending in ("flv", "mkv", "avi", "webm"):
        path = tmp_path / f"a.{ending}"
        codec = {"webm": "libopus", "avi": "libmp3lame"}.get(ending, "aac")
        write(path, [Audio(sound, 44_100 if ending in ("flv", "avi") else RATE, codec)])
        assert np.abs(decode(path).samples[1000:70_000].reshape(-1, 100)).max(axis=1).min() > 0  # no silence was added


@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_delay_of_the_encoder_is_no_gap(tmp_path, codec):
    path = tmp_path / "a.m4a"
    write(path, [Audio(CLICK, RATE, codec)])
    assert onset(decode(path).samples) == pytest.approx(1, abs=0.002)
    assert decode(path).duration == pytest.approx(6, abs=0.001)
