"""sedkit.audio: arrays and file objects that are not what they seem."""

from __future__ import annotations

import io
import mmap

import numpy as np
import pytest
import soundfile

from sedkit.audio.reading import open_audio
from sedkit.errors import ArgumentError, AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import decode

SOUND = make_sound(2, 16_000, seed=1)


@pytest.mark.parametrize(("bits", "remedy"), [(16, "samples.astype(numpy.int16)"), (24, "samples << 8")])
def test_int32_samples_of_fewer_bits(bits, remedy):
    samples = (SOUND / np.abs(SOUND).max() * (2 ** (bits - 1) - 1)).astype(np.int32)
    (notice,) = decode(samples, 16_000).notices
    assert f"with a peak of {2 ** (bits - 1) - 1} look like {bits}-bit samples" in notice
    assert notice.endswith(f"if they have {bits} bits, pass {remedy}")
    assert decode(samples << (32 - bits), 16_000).notices == []  # as soundfile.read(dtype="int32") gives them


@pytest.mark.parametrize("samples", [SOUND * 2**31 * 0.9, SOUND * 0, SOUND * 100, SOUND * 2**31 * 0.01 // 256 * 256])
def test_int32_samples_of_32_bits(samples):
    assert decode(samples.astype(np.int32), 16_000).notices == []


def test_lists_and_array_likes():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return SOUND

    expected = decode(SOUND, 16_000).samples
    floats = SOUND.tolist()
    for source in (floats, tuple(floats), [[value] for value in floats], Tensor(), list(SOUND), [SOUND, SOUND]):
        np.testing.assert_allclose(decode(source, 16_000).samples, expected, atol=1e-6)
    assert len(decode([0, *floats], 16_000).samples) == len(floats) + 1


def test_file_objects_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, SOUND, 16_000)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        if not hasattr(mapped, "seekable"):
            with pytest.raises(ArgumentError, match="not mmap; pass its bytes"):
                open_audio(mapped)
        assert len(decode(mapped[:]).samples) == len(SOUND)
    with (tmp_path / "b.wav").open("wb") as file, pytest.raises(ArgumentError, match="open for writing only"):
        open_audio(file)


def closed() -> io.BytesIO:
    file = io.BytesIO(b"RIFF")
    file.close()
    return file


@pytest.mark.parametrize(
    ("source", "rate", "message"),
    [
        (closed(), None, "the file object is closed; open it again, or pass its path"),
        (memoryview(b"RIFF"), 16_000, r"make bytes of samples an array: numpy.frombuffer\(data, type\)"),
        ([1, 2, 3], 16_000, "a list must hold floats"),
        (["a.wav"], 16_000, "a list must hold floats"),
        ([], None, "a list must hold floats"),
        (io.StringIO("text"), None, "not StringIO; open it with mode 'rb'"),
        ([[0.1], [0.1, 0.2]], 16_000, "the rows of a list must have equal lengths"),
    ],
)
def test_errors_name_the_remedy(source, rate, message):
    with pytest.raises(ArgumentError, match=message):
        open_audio(source, rate)


def test_file_object_at_its_end():
    file = io.BytesIO()
    soundfile.write(file, SOUND, 16_000, format="WAV")
    with pytest.raises(AudioError, match=r"-: the file object is at its end; call its seek\(0\) first"):
        decode(file)
    file.seek(0)
    assert len(decode(file).samples) == len(SOUND)
    with pytest.raises(AudioError, match="-: is empty; pass a recording"):
        decode(io.BytesIO())


@pytest.mark.parametrize("form", ["WAV", "MP3", "OGG", "FLAC"])
def test_file_object_whose_recording_starts_later(form):
    file = io.BytesIO(b"header")
    sound = io.BytesIO()
    soundfile.write(sound, SOUND, 16_000, format=form)
    file.seek(6)
    file.write(sound.getvalue())
    file.seek(6)
    assert decode(file).duration == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("form", ["WAV", "MP3", "OGG", "FLAC", "CAF", "AIFF", "AU", "W64"])
def test_file_object_whose_recording_follows_another(form):
    sounds = []
    for sound in (np.zeros(16_000), SOUND):
        file = io.BytesIO()
        soundfile.write(file, sound, 16_000, format=form)
        sounds.append(file.getvalue())
    file = io.BytesIO(b"".join(sounds))
    file.seek(len(sounds[0]))
    np.testing.assert_array_equal(decode(file).samples, decode(sounds[1]).samples)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_a_file(kind):
    file = io.BytesIO()
    soundfile.write(file, SOUND, 16_000, format="FLAC")
    np.testing.assert_array_equal(decode(kind(file.getvalue())).samples, decode(file.getvalue()).samples)
    with pytest.raises(AudioError, match="-: not audio"):
        decode(kind(b"text"))


def test_channels_first():
    both = np.stack([SOUND, -0.5 * SOUND])
    np.testing.assert_array_equal(decode(both, 16_000).samples, decode(both.T, 16_000).samples)
