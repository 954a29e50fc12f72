"""sedkit.audio.pipe: what it recognises and decodes."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
import soundfile

from sedkit.audio.frames import frame_samples
from sedkit.audio.pipe import Pipe
from sedkit.audio.reading import open_audio, open_blocks
from sedkit.errors import ArgumentError, AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, write
from tests.sedkit.audio.piping import SOUND, all_samples, encode


@pytest.mark.parametrize(
    ("encoding", "scale"), [("u8", 2.0**7), ("s16le", 2.0**15), ("s32le", 2.0**31), ("f32le", 1.0)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_raw_samples_of_every_encoding(pipe, encoding, scale, channels):
    dtype = {"u8": "u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}[encoding]
    samples = (SOUND[:15_000].reshape(-1, channels).astype(np.float64) * scale + (128 if dtype == "u1" else 0)).astype(
        dtype
    )
    live = pipe(samples.tobytes() + b"\0" * (channels * samples.itemsize - 1), 8_000, channels, encoding, pieces=97)
    assert (live.name, live.sample_rate, live.endless) == ("-", 8_000, False)
    np.testing.assert_array_equal(all_samples(live), samples)  # the incomplete last sample is dropped


@pytest.mark.parametrize(
    ("kind", "codec", "seconds"),
    [
        ("wav", "pcm_s16le", 2.3),  # FFmpeg reads 64 kB of PCM before it decides that this is not S/PDIF
        ("wav", "pcm_f32le", 1.0),
        ("flac", "flac", 1.3),
        ("ogg", "libopus", 1.5),
        ("mp3", "libmp3lame", 1.2),
        ("adts", "aac", 1.0),
        ("mp4", "aac", 0.6),
        ("mpegts", "aac", 0.6),
        ("matroska", "libopus", 0.6),
    ],
)
def test_decoded_samples_arrive_while_the_pipe_is_open(open_pipe, kind, codec, seconds):
    """The first sound comes after this much sound at most; then another second of sound lets out another second."""
    sound = np.tile(make_sound(2, 16_000, seed=5), 3)
    content = encode(kind, codec, sound)
    second = len(content) / 6
    reading, writer = open_pipe()
    writer.write(content[: int(seconds * second)])
    received = 0
    with Pipe(reading, None) as live:
        assert live.sample_rate in (16_000, 48_000)  # Opus always decodes to 48 kHz
        for end in (seconds, seconds + 1, seconds + 2):
            writer.write(content[int((end - 1) * second) if end > seconds else int(end * second) : int(end * second)])
            while received < (end - 1.1) * live.sample_rate:
                received += len(next(iter(live)))
            assert received <= (end + 0.3) * live.sample_rate
        writer.write(content[int(end * second) :])
        writer.close()
        received += sum(map(len, live))
    assert received / live.sample_rate == pytest.approx(6, abs=0.15)


WAV_LENGTHS = ["known", 0, 0xFFFFFFFF, 0x7FFFFFFF - 36]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("length", WAV_LENGTHS)
def test_wav_header(pipe, kind, subtype, length):
    stereo, buffer = np.stack([SOUND, -SOUND / 2], axis=1), io.BytesIO()
    soundfile.write(buffer, stereo, 22_050, subtype=subtype, format=kind)
    content = bytearray(buffer.getvalue())
    at = content.index(b"data") + 4
    if length == "known":
        content += b"LIST\x04\0\0\0abcd" * 100  # a chunk after the samples is not audio
    else:  # as written by arecord, FFmpeg and GStreamer into a pipe
        content[at : at + 4] = length.to_bytes(4, "little")
        content[4:8] = (length + 36 if 0 < length < 0x7FFFFFFF else length).to_bytes(4, "little")
        end = at + 4 + 2 * len(SOUND) * (np.dtype(np.float64).itemsize if subtype == "DOUBLE" else 1)
        del content[max(end, len(content)) :]
    live = pipe(bytes(content), None)
    assert (live.sample_rate, live.damages) == (22_050, 0)
    samples = all_samples(live)
    np.testing.assert_allclose(samples, stereo, atol=0.02)


def test_wav_that_is_longer_than_its_writer_thought(pipe):
    """arecord declares 2 GB, and a recorder of days writes more."""
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16_000, format="WAV")
    content = bytearray(buffer.getvalue())
    content[4:8] = (0x7FFFFFFF).to_bytes(4, "little")
    at = content.index(b"data") + 4
    content[at : at + 4] = (1000).to_bytes(4, "little")  # instead of 2 GB
    assert len(all_samples(pipe(bytes(content), None))) == len(SOUND)


SOUNDFILE_KINDS = [("RF64", "PCM_16"), ("RF64", "PCM_24"), ("W64", "PCM_16"), ("AIFF", "PCM_24"), ("AU", "FLOAT")]


SOUNDFILE_KINDS += [("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]


@pytest.mark.parametrize("rate", [None, 16_000])
@pytest.mark.parametrize(("kind", "subtype"), SOUNDFILE_KINDS)
def test_files_of_libsndfile_are_recognised(pipe, kind, subtype, rate):
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16_000, format=kind, subtype=subtype)
    samples = all_samples(pipe(buffer.getvalue(), rate))[:, 0]
    assert len(samples) == pytest.approx(len(SOUND), abs=2000)
    if kind not in ("MP3", "OGG"):
        np.testing.assert_allclose(samples, SOUND, atol=1e-4)
    assert 0.5 < np.std(samples) / np.std(SOUND) < 2


@pytest.mark.parametrize("rate", [None, 16_000])
@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("wav", "pcm_s24le"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
        ("adts", "aac"),
        ("mp4", "aac"),
        ("mpegts", "aac"),
        ("matroska", "pcm_s16le"),
        ("caf", "pcm_s16le"),
        ("nut", "pcm_s16le"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_streams_of_ffmpeg_are_recognised(pipe, kind, codec, rate, channels):
    content = encode(kind, codec, channels=channels)
    samples = all_samples(pipe(content, rate))
    assert samples.shape == (pytest.approx(len(SOUND), abs=3000), channels)
    assert samples.dtype == np.float32
    assert 0.5 < np.std(samples) / np.std(SOUND) < 2


@pytest.mark.parametrize(("kind", "codec"), [("mp3", "libmp3lame"), ("adts", "aac"), ("mpegts", "aac")])
def test_radio_that_is_tuned_in_between_two_packets(pipe, kind, codec):
    content = encode(kind, codec)
    assert len(all_samples(pipe(content[777:], None))) > 0.7 * len(SOUND)


def test_surround_sound_has_the_mix_of_a_file(pipe):
    buffer = io.BytesIO()
    channels = SOUND[:, None] * np.arange(1, 7) / 6
    soundfile.write(buffer, channels, 16_000, format="FLAC", subtype="PCM_16")
    live = pipe(buffer.getvalue(), None)
    np.testing.assert_allclose(samples := all_samples(live), channels, atol=1e-4)
    with open_blocks([samples], 16_000, weights=live.weights) as stream, open_audio(buffer.getvalue()) as whole:
        np.testing.assert_allclose(np.concatenate(list(stream)), np.concatenate(list(whole)), atol=1e-6)


def test_track(pipe, tmp_path):
    path = tmp_path / "two.mkv"
    write(path, [Audio(SOUND, 16_000, "flac"), Audio(SOUND[::-1].copy(), 16_000, "flac")])
    for number, expected in ((1, SOUND), (2, SOUND[::-1])):
        live = pipe(path.read_bytes(), None, 1, "s16le", "-", number)
        np.testing.assert_allclose(all_samples(live)[:, 0], expected, atol=1e-3)
    with pytest.raises(AudioError, match="has 2 audio tracks, no track 3"):
        pipe(path.read_bytes(), None, 1, "s16le", "-", 3)
    with pytest.raises(AudioError, match="has 1 audio track, no track 2"):
        pipe(SOUND.tobytes(), 16_000, 1, "f32le", "-", 2)


def test_invalid_pipe_input(pipe):
    with pytest.raises(AudioError, match="no data came through the pipe"):
        pipe(b"", 16_000)
    with pytest.raises(ArgumentError, match="add --rate"):
        pipe(b"\0" * 100, None)
    with pytest.raises(ArgumentError, match="add --rate"):
        pipe(np.random.default_rng(0).bytes(100_000), None)
    with pytest.raises(AudioError, match="contains no samples"):
        pipe(b"\0", 16_000)
    with pytest.raises(AudioError, match="not audio that sedkit can decode from a pipe"):
        pipe(b"RIFF" + bytes(100), None)
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16_000, format="WAV")
    with pytest.raises(AudioError, match="not audio that sedkit can decode from a pipe"):
        pipe(buffer.getvalue()[:40], None)


@pytest.mark.parametrize(("kind", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame")])
def test_encoded_sound_is_not_taken_for_raw_samples(pipe, kind, codec):
    with pytest.raises(ArgumentError, match=f"--rate is 44100, but this is no raw sound but {kind}, with 16000 Hz"):
        pipe(encode(kind, codec), 44_100)


def test_more_than_eight_planes():
    """PyAV's to_ndarray crashes on them."""
    samples = np.zeros((16, 960), np.float32) + np.arange(16, dtype=np.float32)[:, None] / 16
    frame = av.AudioFrame("fltp", "16 channels", 960)
    for plane, channel in zip(frame.planes, samples, strict=False):
        plane.update(np.pad(channel, (0, plane.buffer_size // 4 - 960)).tobytes())
    np.testing.assert_array_equal(frame_samples(frame), samples)
