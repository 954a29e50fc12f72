"""sedkit.audio.channels: the mix of the channels, and the choice of a track and a channel."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.audio.channels import CELL, Mix, channel_number
from sedkit.audio.decoding import Chunk
from sedkit.audio.reading import open_audio, open_blocks, probe
from sedkit.errors import ArgumentError, AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, decode, piped, without_offset, write

SOUND = make_sound(4, 16_000, seed=1)
NOISE = make_sound(4, 16_000, seed=2)


def stereo(left, right) -> np.ndarray:
    return np.stack([left, right], axis=1)


@pytest.mark.parametrize(
    ("left", "right"), [(SOUND, NOISE), (SOUND, SOUND), (SOUND, -0.5 * SOUND), (SOUND, 0.05 * NOISE), (0 * SOUND,) * 2]
)
def test_ordinary_stereo_is_the_mean(left, right):
    decoded = decode(stereo(left, right), 16_000)
    np.testing.assert_array_equal(decoded.samples, without_offset((left + right).astype(np.float32) / np.float32(2)))
    assert decoded.notices == []


@pytest.mark.parametrize(("left", "right", "louder"), [(1, -1, "left"), (0.65, -1, "right"), (-0.9, 1, "left")])
def test_where_channels_cancel_the_louder_one_is_taken(left, right, louder):
    both = stereo(left * SOUND, right * SOUND)
    decoded = decode(both, 16_000)
    np.testing.assert_array_equal(decoded.samples, without_offset(both[:, int(louder == "right")]))
    (notice,) = decoded.notices
    assert notice == (
        f"<array>: the channels cancel each other at 0.0 s; sedkit takes the {louder} channel there; "
        "choose one with --channel"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 30_000.0])
@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize("other", [NOISE, -SOUND])
def test_samples_out_of_range_in_one_channel(value, column, other):
    both = stereo(SOUND, other)
    both[30_000, column] = value
    with pytest.raises(AudioError, match=r"<array>: sample .* at 1\.875 s"):
        decode(both, 16_000)


def test_infinite_samples_of_both_signs_are_refused_without_a_warning():
    both = stereo(SOUND, NOISE)
    both[30_000:30_002] = [[np.inf, np.inf], [1e38, -np.inf]]
    both[60_000] = [np.inf, -np.inf]
    with pytest.raises(AudioError, match=r"<array>: sample .* at 1\.875 s"):
        decode(both, 16_000)


def test_channels_that_cancel_later():
    both = stereo(SOUND, NOISE)
    both = np.concatenate([both, stereo(3 * SOUND, -3 * SOUND)])
    decoded = decode(both / 4, 16_000)
    assert "cancel each other at 4." in decoded.notices[0] or "cancel each other at 5." in decoded.notices[0]
    np.testing.assert_allclose(np.abs(decoded.samples[-16_000:]), np.abs(both / 4)[-16_000:, 0], atol=0.02)


@pytest.mark.parametrize("silent", [0.0, 0.005])
@pytest.mark.parametrize("sounding", [0, 1])
def test_a_silent_channel_does_not_count(silent, sounding):
    both = np.stack([silent * NOISE] * 2, axis=1)
    both[:, sounding] = SOUND
    decoded = decode(both, 16_000)
    np.testing.assert_array_equal(decoded.samples, without_offset(SOUND))
    assert decoded.notices == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_the_mix_does_not_depend_on_the_blocks(lengths, seed):
    rng = np.random.default_rng(seed)
    both = np.stack([SOUND, NOISE], axis=1) * rng.uniform(0, 1, 2)
    at = rng.integers(0, 48_000)
    both[at : at + 16_000, 1] = -both[at : at + 16_000, 0]
    expected = decode(both, 16_000)
    parts = np.split(both, np.cumsum(lengths)[np.cumsum(lengths) < len(both)])
    with open_blocks(parts, 16_000) as stream:
        samples = np.concatenate(list(stream))
        notices = [notice.partition(": ")[2] for notice in stream.notices]
    np.testing.assert_array_equal(samples, expected.samples)
    assert notices == [notice.partition(": ")[2] for notice in expected.notices]


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_file_and_pipe_have_the_same_mix(tmp_path, ending):
    path = tmp_path / f"antiphase.{ending}"
    soundfile.write(path, np.concatenate([stereo(SOUND, -SOUND), stereo(SOUND, 0.3 * NOISE)]), 16_000)
    whole = decode(path)
    assert len(whole.notices) == 1
    np.testing.assert_array_equal(piped(path).samples, whole.samples)
    assert piped(path).notices == [whole.notices[0].replace(str(path), "-")]


@pytest.mark.parametrize("ending", ["wav", "flac", "ac3", "mka"])
def test_low_frequency_effects_do_not_count(tmp_path, ending):
    sound = np.stack([make_sound(4, 48_000, seed=seed) for seed in range(6)], axis=1)
    quiet = sound.copy()
    quiet[:, 3] = 0  # FL FR FC LFE BL BR
    codec = {"wav": "pcm_s16le", "mka": "flac"}.get(ending, ending)
    decoded = []
    for name, samples in (("loud", sound), ("quiet", quiet)):
        path = tmp_path / f"{name}.{ending}"
        write(path, [Audio(samples, 48_000, codec)])
        decoded.append(decode(path).samples)
        np.testing.assert_array_equal(piped(path).samples, decoded[-1])
    np.testing.assert_allclose(decoded[0], decoded[1], atol=0.05 if ending == "ac3" else 1e-4)


@pytest.mark.parametrize(("channel", "column"), [("left", 0), ("right", 1), (1, 0), (2, 1), (3, 2)])
def test_channel(tmp_path, channel, column):
    three = np.stack([SOUND, NOISE, 0.5 * SOUND], axis=1).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", three, 16_000, subtype="FLOAT")
    for source, rate in ((three, 16_000), (tmp_path / "a.wav", None)):
        decoded = decode(source, rate, channel=channel)
        np.testing.assert_allclose(decoded.samples, without_offset(three[:, column]), atol=1e-6)
        assert decoded.notices == []


def test_missing_channel_and_track(tmp_path):
    soundfile.write(tmp_path / "a.wav", SOUND, 16_000)
    write(tmp_path / "a.mkv", [Audio(SOUND, 16_000, "flac")])
    for name in ("a.wav", "a.mkv"):
        with pytest.raises(AudioError, match="has one channel, no channel 2; choose another --channel"):
            decode(tmp_path / name, channel="right")
        with pytest.raises(AudioError, match="has 1 audio track, no track 2; sedkit info lists them"):
            decode(tmp_path / name, track=2)
        assert len(decode(tmp_path / name, track=1).samples) == len(SOUND)


@pytest.mark.parametrize(
    "options", [{"channel": "both"}, {"channel": 0}, {"channel": True}, {"track": 0}, {"track": "1"}, {"track": True}]
)
def test_invalid_options(options):
    with pytest.raises(ArgumentError, match="must be"):
        open_audio(SOUND, 16_000, **options)


def test_channel_number():
    assert [channel_number(channel) for channel in ("mix", "left", "right", 4)] == [None, 1, 2, 4]


def test_the_default_track_is_taken_and_the_others_are_named(tmp_path):
    path = tmp_path / "film.mkv"
    tracks = [Audio(SOUND, 16_000, "flac"), Audio(NOISE, 16_000, "flac", default=True), Audio(SOUND, 16_000, "flac")]
    write(path, tracks, video=4)
    chosen = decode(path)
    np.testing.assert_allclose(chosen.samples, without_offset(NOISE), atol=1e-3)
    assert chosen.notices == [
        f"{path}: has 3 audio tracks; sedkit analyses track 2; choose another one with --track",
    ]
    for number, sound in ((1, SOUND), (2, NOISE), (3, SOUND)):
        decoded = decode(path, track=number)
        np.testing.assert_allclose(decoded.samples, without_offset(sound), atol=1e-3)
        assert decoded.notices == []
    info = probe(path)
    assert [(track.number, track.default, track.codec, track.channels) for track in info.tracks] == [
        (1, False, "flac", 1),
        (2, True, "flac", 1),
        (3, False, "flac", 1),
    ]
    with pytest.raises(AudioError, match="has 3 audio tracks, no track 4"):
        decode(path, track=4)


def test_mix_is_delayed_by_less_than_a_cell():
    mix = Mix(lambda notice: None)
    received = yielded = 0
    for _ in range(50):
        received += 777
        yielded += sum(map(len, mix(Chunk(16_000, np.ones((2, 777), np.float32)))))
        assert 0 <= received - yielded < CELL * 16_000
    assert sum(map(len, mix.finish())) == received - yielded
