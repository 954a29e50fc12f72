"""sedkit.audio.level: a constant offset is removed, and gain."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.audio import level
from sedkit.audio.level import WithoutOffset, loudest_second
from sedkit.audio.reading import open_audio, open_blocks
from sedkit.errors import ArgumentError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import decode, piped

SOUND = make_sound(6, 16_000, seed=1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_an_offset_is_removed_from_the_first_sample_on(rate):
    sound = make_sound(6, rate, seed=1)
    plain, shifted = decode(0.5 * sound, rate), decode(0.5 * sound + 0.1, rate)
    np.testing.assert_allclose(shifted.samples[50:-50], plain.samples[50:-50], atol=2e-6)
    assert shifted.duration == plain.duration == 6


def test_an_offset_that_changes_is_followed():
    sound = np.concatenate([SOUND, SOUND + 0.2])
    decoded = decode(sound / 2, 16_000).samples
    assert abs(decoded[9 * 16_000 : 10 * 16_000].mean()) < 0.01
    assert abs(decoded[:16_000].mean()) < 0.01


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_constant_samples_become_digital_silence(value):
    decoded = decode(np.concatenate([SOUND, np.full(32_000, value, np.float32), SOUND]), 16_000).samples
    assert not decoded[6 * 16_000 + 320 : 8 * 16_000 - 320].any()
    np.testing.assert_array_equal(decode(np.full(16_000, value), 16_000).samples, np.zeros(16_000))


def test_sound_is_hardly_changed():
    time = np.arange(5 * 16_000) / 16_000
    for frequency in (20, 50, 1000):
        tone = 0.5 * np.sin(2 * np.pi * frequency * time)
        assert np.abs(decode(tone, 16_000).samples - tone)[16_000:].max() < 0.02


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=12), st.sampled_from([16_000, 22_050]))
def test_blocks_make_no_difference(lengths, rate):
    sound = SOUND + np.float32(0.05)
    cuts = np.cumsum(lengths)
    with open_blocks(np.split(sound, cuts[cuts < len(sound)]), rate, gain=6) as stream:
        np.testing.assert_array_equal(np.concatenate(list(stream)), decode(sound, rate, gain=6).samples)


def test_no_sample_is_lost():
    for length in (1, 319, 320, 321, 5000):
        remove = WithoutOffset(16_000)
        assert len(remove(SOUND[:length])) + len(remove.finish()) == length


def test_gain_in_decibels():
    plain = decode(SOUND, 16_000).samples
    np.testing.assert_allclose(decode(SOUND, 16_000, gain=20.0).samples, 10 * plain, rtol=1e-6)
    np.testing.assert_array_equal(decode(SOUND, 16_000, gain=0).samples, plain)


@pytest.mark.parametrize("factor", [1.0, 0.03, 0.001])
def test_automatic_gain_brings_the_loudest_second_to_one_level(factor):
    decoded = decode(factor * SOUND, 16_000, gain="auto").samples
    assert loudest_second(decoded) == pytest.approx(-20, abs=0.01)
    assert len(decoded) == len(SOUND)


def test_automatic_gain_is_limited_and_leaves_silence():
    quiet = decode(1e-5 * SOUND, 16_000).samples
    np.testing.assert_allclose(decode(1e-5 * SOUND, 16_000, gain="auto").samples, 1000 * quiet, rtol=1e-5)
    assert not decode(0 * SOUND, 16_000, gain="auto").samples.any()


def test_automatic_gain_is_that_of_the_start(monkeypatch):
    monkeypatch.setattr(level, "HEARD", 2)
    sound = np.concatenate([0.01 * SOUND, SOUND])
    decoded = decode(sound, 16_000, gain="auto").samples
    assert loudest_second(decoded[:32_000]) == pytest.approx(-20, abs=0.01)
    assert loudest_second(decoded) > 10


def test_file_and_pipe_have_the_same_gain(tmp_path):
    path = tmp_path / "quiet.flac"
    soundfile.write(path, 0.01 * np.stack([SOUND, SOUND[::-1]], axis=1), 44_100)
    np.testing.assert_array_equal(piped(path, gain="auto").samples, decode(path, gain="auto").samples)


def test_level_of_the_loudest_second():
    time = np.arange(3 * 16_000) / 16_000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    assert loudest_second(tone) == pytest.approx(-3.01, abs=0.01)
    assert loudest_second(tone[:1600]) == pytest.approx(-3.01, abs=0.01)
    assert loudest_second(np.zeros(9, np.float32)) == -np.inf


@pytest.mark.parametrize("gain", ["loud", None, True, 101, float("nan")])
def test_invalid_gain(gain):
    with pytest.raises(ArgumentError, match="gain must be 'auto' or from -100 to 100 dB"):
        open_audio(SOUND, 16_000, gain=gain)
    with pytest.raises(ArgumentError, match="for live audio, pass a number of dB"):
        open_blocks([SOUND], 16_000, gain="auto")
