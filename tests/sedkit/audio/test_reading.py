"""sedkit.audio.reading: every kind of input and every error. Real clips: tests/real/test_audio_formats.py."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.audio.reading import open_audio, open_blocks, probe
from sedkit.errors import ArgumentError, AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, without_offset, write

SOUND = make_sound(23.4, 44_100, seed=1)


def decode(source, sample_rate=None):
    with open_audio(source, sample_rate) as stream:
        blocks = list(stream)
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    assert stream.samples == sum(map(len, blocks))
    return np.concatenate(blocks), stream


def through_pipe(command: str):
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) as process:
        return decode(process.stdout)


@pytest.fixture(scope="module")
def wav(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "sound.wav"
    soundfile.write(path, SOUND, 44_100, subtype="PCM_24")
    return path


@pytest.fixture
def video(tmp_path) -> Path:
    path = tmp_path / "silent.mp4"
    with av.open(path, "w") as container:
        track = container.add_stream("mpeg4", rate=10)
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
        container.mux([*track.encode(frame), *track.encode(None)])
    return path


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000, 44_100.5])
def test_resampling_has_no_seams_between_blocks(rate):
    sound = make_sound(25, round(rate))
    samples, stream = decode(sound, rate)
    expected = soxr.resample(without_offset(sound, rate), rate, 16_000, quality="HQ")
    assert abs(len(samples) - len(sound) * 16_000 / rate) < 1
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)
    assert stream.duration == pytest.approx(len(sound) / rate)
    assert stream.sample_rate == rate


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (192_000, 8)])
@pytest.mark.parametrize("kind", ["file", "pipe", "array"])
def test_block_size_is_bounded_at_any_sample_rate(tmp_path, rate, channels, kind):
    path = tmp_path / "sound.wav"
    sound = np.repeat(make_sound(2 if channels > 2 else 20, rate)[:, None], channels, axis=1)
    soundfile.write(path, sound, rate)
    with open(path, "rb") as file:
        pipe = SimpleNamespace(read=file.read, seekable=lambda: False)
        with open_audio(
            {"file": path, "pipe": pipe, "array": sound}[kind], rate if kind == "array" else None
        ) as stream:
            decoded = [stream.duration for _ in stream]
    assert len(decoded) > 1
    samples = (
        np.diff(decoded, prepend=0).max() * rate * (1 if kind == "pipe" else channels)
    )  # frames from a pipe are short
    assert samples <= 300_000


def test_open_blocks():
    sound = make_sound(5, 44_100, seed=2)
    whole, _ = decode(sound, 44_100)
    stereo = [np.stack([part, part], axis=1) for part in np.split(sound, [1, 2, 2, 7000, 100_000])]
    with open_blocks(iter(stereo), 44_100) as stream:
        np.testing.assert_allclose(np.concatenate(list(stream)), whole, rtol=0, atol=1e-6)
    assert (stream.name, stream.duration) == ("<stream>", pytest.approx(5))
    with pytest.raises(AudioError, match="contains no samples"):
        open_blocks([np.zeros(0)], 44_100)
    with pytest.raises(ArgumentError, match="needs a sample_rate"):
        open_blocks([sound], None)


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "float32", "float64"]),
    channels=st.integers(1, 6),
)
def test_arrays_are_scaled_and_downmixed(dtype, channels):
    level = np.linspace(-0.9, 0.9, 500)[:, None] * np.linspace(0.5, 1, channels)
    info = np.iinfo(dtype) if dtype[0] in "iu" else None
    half = (int(info.max) - int(info.min) + 1) / 2 if info else 1
    array = (level * half + (half if dtype[0] == "u" else 0)).astype(dtype)
    samples, stream = decode(array, 16_000)
    np.testing.assert_allclose(samples, without_offset(level.mean(axis=1)), atol=1 / 63 if info else 1e-5)
    assert stream.name == "<array>"
    np.testing.assert_array_equal(decode(array[:, 0], 16_000)[0], decode(array[:, :1], 16_000)[0])


@pytest.mark.parametrize(
    ("array", "rate", "message"),
    [
        (np.zeros((3, 3, 3)), 16_000, r"not \[3, 3, 3\]"),
        (np.zeros(10, bool), 16_000, "not bool"),
        (np.zeros(10, np.int64), 16_000, "not int64"),
        (np.zeros(10, complex), 16_000, "not complex"),
        (np.zeros(10), None, "needs a sample_rate"),
        (np.zeros(10), 0, "needs a sample_rate"),
        (np.zeros(10), float("nan"), "needs a sample_rate"),
        (np.zeros(10), "16k", "needs a sample_rate"),
        ("clip.wav", 16_000, "sample_rate is only for arrays"),
        (io.StringIO("text"), None, "not StringIO"),
        (7, None, "not int"),
    ],
)
def test_invalid_arguments(array, rate, message):
    with pytest.raises(ArgumentError, match=message):
        open_audio(array, rate)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 30_000.0])
def test_samples_out_of_range(tmp_path, rate, value):
    sound = np.zeros(15 * rate, np.float32)
    sound[12 * rate] = value
    soundfile.write(tmp_path / "bad.wav", sound, rate, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav: sample .* at 12\.000 s"):
        decode(tmp_path / "bad.wav")


def test_path_file_object_and_pipe_give_the_same_samples(wav):
    expected, stream = decode(wav)
    assert stream.name == str(wav)
    assert stream.duration == pytest.approx(23.4)
    with open(wav, "rb") as file:
        samples, stream = decode(file)
    assert stream.name == str(wav)
    np.testing.assert_array_equal(samples, expected)
    np.testing.assert_array_equal(decode(io.BytesIO(wav.read_bytes()))[0], expected)
    piped, stream = through_pipe(f"cat '{wav}'")
    assert stream.name == "-"
    assert stream.duration == pytest.approx(23.4)
    np.testing.assert_allclose(piped, expected, atol=1e-6)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF, 0])
def test_wav_header_of_unknown_length(tmp_path, wav, length):
    """Such headers come from ``ffmpeg -f wav -`` and from recorders that lost power."""
    content = bytearray(wav.read_bytes())
    content[4:8] = struct.pack("<I", length)
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", length)
    path = tmp_path / "unknown.wav"
    path.write_bytes(content)
    expected, _ = decode(wav)
    for samples, stream in (decode(path), through_pipe(f"cat '{path}'")):
        assert stream.duration == pytest.approx(23.4)
        np.testing.assert_allclose(samples, expected, atol=1e-6)
    assert probe(path).duration == pytest.approx(23.4)


def test_slow_pipe(wav):
    samples, _ = through_pipe(f"head -c 100 '{wav}'; sleep 0.3; tail -c +101 '{wav}'")
    assert len(samples) == len(decode(wav)[0])


def test_named_pipe(tmp_path, wav):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(f"cat '{wav}' > '{pipe}'", shell=True):
        samples, stream = decode(pipe)
    assert stream.name == str(pipe)
    assert len(samples) == len(decode(wav)[0])


def test_empty_file_and_empty_pipe():
    with pytest.raises(AudioError, match="-: no data came through the pipe"):
        through_pipe("true")
    with open(os.devnull, "rb") as nothing, pytest.raises(AudioError, match="is empty; pass a recording"):
        decode(nothing)


def test_format_that_needs_a_seekable_file(tmp_path, wav):
    path = tmp_path / "sound.m4a"
    with av.open(path, "w") as container:
        track = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(SOUND[None], format="fltp", layout="mono")
        frame.sample_rate = 44_100
        container.mux([*track.encode(frame), *track.encode(None)])
    assert decode(path)[1].duration == pytest.approx(23.4, abs=0.05)
    with pytest.raises(AudioError, match="save it to a file first, or pipe wav"):
        through_pipe(f"cat '{path}'")


@pytest.mark.parametrize("ending", ["wav", "ogg", "mp3"])
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_truncated_file_gives_its_readable_part(tmp_path, ending, kind, capfd):
    path = tmp_path / f"cut.{ending}"
    soundfile.write(path, SOUND, 44_100)
    os.truncate(path, path.stat().st_size // 2)
    samples, stream = decode(path) if kind == "file" else through_pipe(f"cat '{path}'")
    assert 8 < stream.duration < 14
    expected, _ = decode(SOUND, 44_100)
    middle = slice(5 * 16_000, 6 * 16_000)
    assert np.corrcoef(samples[middle], expected[middle])[0, 1] > 0.9


@pytest.mark.parametrize("ending", ["ogg", "mka"])
def test_damaged_file(tmp_path, ending):
    path = tmp_path / f"damaged.{ending}"
    if ending == "ogg":
        soundfile.write(path, SOUND, 44_100)
    else:
        write(path, [Audio(SOUND, 44_100, "flac")])
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = np.random.default_rng(0).bytes(20_000)
    path.write_bytes(content)
    if ending == "ogg":
        samples, stream = decode(path)
        assert stream.duration == pytest.approx(23.4, abs=0.1)
        np.testing.assert_array_equal(through_pipe(f"cat '{path}'")[0], samples)
    else:
        with pytest.raises(AudioError, match=r"damaged\.mka: damaged at 11\.\d s \(Invalid data"):
            decode(path)


def test_damage_in_a_flac_file_is_silent(tmp_path):
    path = tmp_path / "damaged.flac"
    soundfile.write(path, SOUND, 44_100)
    whole, _ = decode(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = np.random.default_rng(0).bytes(20_000)
    path.write_bytes(content)
    for samples, stream in (decode(path), through_pipe(f"cat '{path}'")):
        assert stream.duration == pytest.approx(23.4)
        different = np.flatnonzero(np.abs(samples - whole) > 1e-3) / 16_000
        assert 0.1 < len(different) / 16_000 < 0.6
        assert 11 < different[0] < different[-1] < 13
        (notice,) = stream.notices
        assert re.fullmatch(r".*: damaged at 11\.\d s; 0\.\d s that cannot be decoded count as silence", notice)


def test_errors_are_one_line(tmp_path, video):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("not a sound\n" * 100)
    (tmp_path / "text.raw").write_text("not a sound\n" * 100)
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video}\n#EXT-X-ENDLIST\n")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "slow.wav", np.zeros(90), 100)
    cases = {
        "missing.wav": "no such file",
        ".": "is a folder",
        "empty.wav": r"empty \(0 bytes\)",
        "text.wav": "not audio that sedkit can decode",
        "text.raw": "not audio that sedkit can decode",
        "list.m3u8": "not audio that sedkit can decode",
        "none.wav": "contains no samples",
        "slow.wav": "sample rate 100 Hz is out of range",
        "silent.mp4": "has no audio track",
        "silent.mp4/x.wav": "cannot be opened",
    }
    for name, message in cases.items():
        path = str(tmp_path / name)
        with pytest.raises(AudioError, match=message) as caught:
            decode(path)
        assert str(caught.value).startswith(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_file_without_read_permission(tmp_path, wav):
    path = tmp_path / "locked.wav"
    path.write_bytes(wav.read_bytes())
    path.chmod(0)
    with pytest.raises(AudioError, match="cannot be opened"):
        open_audio(path)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
@pytest.mark.parametrize("name", [b"12:30 rain.wav", b"-", b"\xff\xfe.wav", "Käuzchen.wav".encode(), b"http:.raw"])
def test_unusual_file_names(tmp_path, wav, name):
    path = os.path.join(tmp_path, os.fsdecode(name))
    with open(path, "wb") as file:
        file.write(wav.read_bytes())
    samples, stream = decode(path)
    assert stream.name == path
    assert len(samples) == len(decode(wav)[0])


def test_leaving_the_stream_closes_the_file(wav):
    with open_audio(wav) as stream:
        next(iter(stream))
    assert list(stream) == []


def test_probe(tmp_path, wav, video):
    info = probe(wav)
    assert (info.file, info.container, info.codec) == (str(wav), "wav", "pcm_24")
    assert (info.sample_rate, info.channels, info.bits, info.duration) == (44_100, 1, 24, pytest.approx(23.4))
    many = tmp_path / "many.wav"
    with soundfile.SoundFile(many, "w", 8000, 17, "PCM_24") as file:
        file.write(np.zeros((8000, 17)))
    assert (probe(many).channels, probe(many).bits) == (17, 24)
    path = tmp_path / "stereo.mka"
    with av.open(path, "w") as container:
        track = container.add_stream("flac", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 96_000), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux([*track.encode(frame), *track.encode(None)])
    info = probe(path)
    assert (info.container, info.codec) == ("matroska,webm", "flac")
    assert (info.sample_rate, info.channels, info.duration) == (48_000, 2, pytest.approx(1.0, abs=0.01))
    for name, message in ((video, "has no audio track"), (tmp_path, "is a folder"), (tmp_path / "no", "no such file")):
        with pytest.raises(AudioError, match=message):
            probe(name)
