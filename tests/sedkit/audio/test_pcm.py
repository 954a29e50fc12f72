"""WAV files with uncompressed samples are read without libsndfile, to the same samples."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from sedkit.audio.opening import decode
from sedkit.audio.wav import wav_length

RATE = 44_100
FULL = {"PCM_U8": 2**7, "PCM_16": 2**15, "PCM_24": 2**23, "PCM_32": 2**31, "FLOAT": 1, "DOUBLE": 1}


def sound(channels: int, seconds: float = 4.0) -> np.ndarray:
    """Noise up to full scale, with both extremes."""
    noise = np.random.default_rng(3).uniform(-1, 1, (round(seconds * RATE), channels))
    noise[:2] = [[-1.0], [1.0]]
    return noise


def decoded(path) -> tuple[float, np.ndarray]:
    with path.open("rb") as file:
        chunks = list(decode(file, path.name, print, None, str(path)))
    return chunks[0].rate, np.concatenate([chunk.samples for chunk in chunks], axis=1).T


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", FULL)
def test_samples_are_those_of_libsndfile(tmp_path, subtype, form, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(channels), RATE, subtype, format=form)
    with path.open("rb") as file:
        assert wav_length(file).pcm is not None
    rate, samples = decoded(path)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == RATE
    np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize(("subtype", "channels"), [("ULAW", 1), ("IMA_ADPCM", 1), ("PCM_16", 3)])
def test_other_files_are_left_to_the_libraries(tmp_path, subtype, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(channels), RATE, subtype)
    with path.open("rb") as file:
        assert wav_length(file).pcm is None
    assert decoded(path)[1].shape[1] == channels


@pytest.mark.parametrize("cut", [1, 3, 1001, 100_001])
def test_cut_file_is_read_to_its_last_whole_frame(tmp_path, cut):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(2), RATE, "PCM_24")
    path.write_bytes(path.read_bytes()[:-cut])
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(decoded(path)[1], expected)


def test_file_that_lacks_its_end_is_told(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(1), RATE)
    path.write_bytes(path.read_bytes()[: RATE * 2])
    notices = []
    with path.open("rb") as file:
        list(decode(file, "a.wav", notices.append, None, str(path)))
    assert len(notices) == 1


def test_file_without_samples_has_no_chunks(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(1)[:0], RATE)
    with path.open("rb") as file:
        assert list(decode(file, "a.wav", print, None, str(path))) == []


def test_tag_of_a_wav_file_imports_no_decoder(tmp_path, model_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(1), 16_000)
    code = (
        "import sys; from sedkit.cli import main; "
        f"main(['tag', {str(path)!r}, '--model', {str(model_path)!r}], standalone_mode=False); "
        "print(sorted({'soundfile', 'av'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
