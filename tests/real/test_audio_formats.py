"""A real clip decodes to the same samples from every common audio format."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from sedkit.audio.reading import open_audio, probe
from tests.sedkit.audio.encoding import without_offset

CLIP = "1-100032-A-0"  # a dog

# file name -> (codec of soundfile or PyAV, rate, channels, lowest correlation with the original)
SOUNDFILE = {
    "u8.wav": ("PCM_U8", 16_000, 1, 0.97),
    "s16.wav": ("PCM_16", 44_100, 2, 0.999),
    "s24.wav": ("PCM_24", 48_000, 2, 0.999),
    "s32.wav": ("PCM_32", 96_000, 6, 0.999),
    "float.wav": ("FLOAT", 22_050, 1, 0.999),
    "double.wav": ("DOUBLE", 192_000, 1, 0.999),
    "telephone.wav": ("ULAW", 8_000, 1, 0.97),
    "cd.flac": ("PCM_16", 44_100, 2, 0.999),
    "studio.flac": ("PCM_24", 96_000, 1, 0.999),
    "vorbis.ogg": ("VORBIS", 44_100, 2, 0.97),
    "voice.opus": ("OPUS", 48_000, 1, 0.97),
    "music.mp3": ("MPEG_LAYER_III", 44_100, 2, 0.97),
    "old.aiff": ("PCM_16", 32_000, 1, 0.999),
}
PYAV = {
    "phone.m4a": ("aac", 44_100, 1, 0.97),
    "lossless.m4a": ("alac", 48_000, 2, 0.999),
    "film.mp4": ("aac", 48_000, 2, 0.97),
    "radio.aac": ("aac", 32_000, 2, 0.97),
    "web.webm": ("libopus", 48_000, 2, 0.97),
    "archive.mka": ("flac", 44_100, 1, 0.999),
    "camera.mov": ("pcm_s16le", 48_000, 2, 0.999),
    "disc.ac3": ("ac3", 48_000, 2, 0.97),
}


@pytest.fixture(scope="module")
def clip(data: Path) -> np.ndarray:
    files = sorted((data / "esc50" / "audio").glob(f"{CLIP}.*"))
    if not files:
        pytest.skip(f"no {CLIP} among the real recordings")
    samples, rate = soundfile.read(files[0], dtype="float32")
    assert rate == 16_000
    return samples


def write(path: Path, samples: np.ndarray, codec: str, rate: int, channels: int) -> None:
    """Write [samples, channels]: through soundfile if the codec is one of its subtypes, else through PyAV."""
    if codec.isupper():
        kind = "OGG" if path.suffix == ".opus" else None
        soundfile.write(path, samples, rate, subtype=codec, format=kind)
        return
    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(path, "w") as container:
        track = container.add_stream(codec, rate=rate, layout=layout, bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(track.format, layout, rate, track.codec_context.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(track.encode(part))


def similarity(decoded: np.ndarray, original: np.ndarray, slack: int = 2_048) -> float:
    """Highest correlation at any shift of up to `slack` samples, because raw streams keep the encoder's delay."""
    size = 1 << (len(decoded) + len(original)).bit_length()
    product = np.fft.irfft(np.fft.rfft(decoded, size) * np.fft.rfft(original, size).conj(), size)
    near = np.concatenate([product[: slack + 1], product[-slack:]])
    return float(near.max() / (np.linalg.norm(decoded) * np.linalg.norm(original)))


@pytest.mark.parametrize("name", [*SOUNDFILE, *PYAV])
def test_format_decodes_to_the_original(tmp_path, clip, name):
    codec, rate, channels, least = {**SOUNDFILE, **PYAV}[name]
    encoded = soxr.resample(clip, 16_000, rate)
    write(tmp_path / name, np.repeat(encoded[:, None], channels, axis=1), codec, rate, channels)
    # The clip after resampling there and back, without the codec:
    original = soxr.resample(encoded, rate, 16_000)
    with open_audio(tmp_path / name) as stream:
        decoded = np.concatenate(list(stream))
    assert stream.duration == pytest.approx(len(clip) / 16_000, abs=0.07)
    assert len(decoded) == pytest.approx(len(clip), abs=0.07 * 16_000)
    assert similarity(decoded, original) > least
    assert np.linalg.norm(decoded) == pytest.approx(np.linalg.norm(original), rel=0.1)
    if least == 0.999:  # lossless formats have no delay
        assert len(decoded) == len(original)
        np.testing.assert_allclose(decoded, original, atol=2e-3)
    info = probe(tmp_path / name)
    assert (info.sample_rate, info.channels) == (rate, channels)
    assert info.duration == pytest.approx(5, abs=0.07)


def test_channels_are_averaged_to_mono(tmp_path, clip):
    both = np.stack([clip, -0.5 * clip], axis=1)
    soundfile.write(tmp_path / "both.wav", both, 16_000, subtype="FLOAT")
    with open_audio(tmp_path / "both.wav") as stream:
        np.testing.assert_allclose(np.concatenate(list(stream)), without_offset(0.25 * clip), atol=1e-6)


def test_scores_do_not_depend_on_the_format(tmp_path, clip, tagger):
    whole = np.round(clip * 32_767).astype(np.int16)
    soundfile.write(tmp_path / "mono.wav", whole, 16_000)
    soundfile.write(tmp_path / "stereo.flac", np.stack([whole, whole], axis=1), 16_000)
    tags = tagger.tag(whole, 16_000).tags
    assert tagger.tag(tmp_path / "mono.wav").tags == tags
    assert tagger.tag(tmp_path / "stereo.flac").tags == tags
