"""sedkit.audio: a recording is read whole, from a file as from a pipe, and its content decides its format."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.audio import wav
from sedkit.audio.reading import open_audio, probe
from sedkit.errors import AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, decode, piped, without_offset, write

RATE = 44_100
SECONDS = 16.2
SOUND = make_sound(SECONDS, RATE, seed=1)
SHORT = make_sound(3, 22_050, seed=2)


def check(path: Path, seconds: float, tolerance: float = 0.06, difference: float = 1e-5):
    """A file and a pipe give the same samples, and their length is that which info gives."""
    whole, pipe = decode(path), piped(path)
    assert whole.duration == pytest.approx(seconds, abs=tolerance)
    assert pipe.duration == whole.duration
    np.testing.assert_allclose(pipe.samples, whole.samples, rtol=0, atol=difference)
    assert probe(path).duration == pytest.approx(whole.duration, abs=0.02)
    return whole


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def wav_file(*chunks: bytes, magic: bytes = b"RIFF") -> bytes:
    layout = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16))
    return magic + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + layout + b"".join(chunks)


def pcm(seconds: float, seed: int = 3) -> bytes:
    return (make_sound(seconds, 16_000, seed=seed) * 32_000).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def mp3(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mp3") / "sound.mp3"
    write(path, [Audio(SOUND, RATE, "libmp3lame")])
    return path


def test_mp3_gives_as_many_samples_as_were_encoded(mp3):
    assert check(mp3, SECONDS, 0.001).duration == pytest.approx(SECONDS, abs=1e-6)
    assert probe(mp3).duration == pytest.approx(SECONDS, abs=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [44_100, 22_050, 8_000])
@pytest.mark.parametrize("kind", ["VARIABLE", "CONSTANT"])
def test_mp3_of_libsndfile(tmp_path, channels, rate, kind):
    sound = np.repeat(make_sound(3, rate)[:, None], channels, axis=1)
    soundfile.write(tmp_path / "a.mp3", sound, rate, bitrate_mode=kind)
    check(tmp_path / "a.mp3", 3, 0.001)


def test_mp3_of_variable_rate_without_info_tag(tmp_path):
    path = tmp_path / "vbr.mp3"
    loud = np.concatenate([SOUND, np.zeros(10 * RATE, np.float32)])
    options = {"flags": "+qscale", "global_quality": str(5 * 118)}
    write(path, [Audio(loud, RATE, "libmp3lame", options=options)], options={"write_xing": "0"})
    check(path, SECONDS + 10)


@pytest.mark.parametrize("second", ["same", "rate", "channels"])
def test_joined_mp3(tmp_path, mp3, second):
    tracks = {
        "same": Audio(SOUND, RATE, "libmp3lame"),
        "rate": Audio(SHORT, 22_050, "libmp3lame"),
        "channels": Audio(np.stack([SOUND, SOUND], axis=1), RATE, "libmp3lame"),
    }
    write(tmp_path / "second.mp3", [tracks[second]])
    path = tmp_path / "joined.mp3"
    path.write_bytes(mp3.read_bytes() + (tmp_path / "second.mp3").read_bytes())
    seconds = len(tracks[second].samples) / tracks[second].rate
    joined = check(path, SECONDS + seconds, 0.15)
    alone = np.convolve(decode(tmp_path / "second.mp3").samples, np.ones(16), "valid")  # below 1 kHz
    end = np.convolve(joined.samples, np.ones(16), "valid")[-len(alone) :]
    start = len(alone) // 3
    middle = alone[start : start + 8000]
    best = max(np.corrcoef(end[start + lag : start + lag + 8000], middle)[0, 1] for lag in range(-1500, 1500))
    assert best > 0.95  # they are a fraction of a sample apart


def test_mp3_with_large_cover_art(tmp_path, mp3):
    art = b"APIC" + struct.pack(">I", 3_000_000) + bytes(2) + b"\0image/png\0\3\0" + bytes(3_000_000 - 13)
    size = len(art)
    syncsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    path = tmp_path / "art.mp3"
    path.write_bytes(b"ID3\3\0\0" + syncsafe + art + mp3.read_bytes())
    check(path, SECONDS)


def test_flac_of_unknown_length(tmp_path):
    path = tmp_path / "piped.flac"
    buffer = io.BytesIO()
    write_to = tmp_path / "whole.flac"
    write(write_to, [Audio(SOUND, RATE, "flac")])
    content = bytearray(write_to.read_bytes())
    content[18:26] = (int.from_bytes(content[18:26], "big") >> 36 << 36).to_bytes(8, "big")  # total samples: unknown
    buffer.write(content)
    path.write_bytes(buffer.getvalue())
    assert check(path, SECONDS).duration == pytest.approx(SECONDS, abs=1e-6)


def test_wav_with_two_data_chunks(tmp_path):
    path = tmp_path / "two.wav"
    path.write_bytes(wav_file(chunk(b"data", pcm(2)), chunk(b"LIST", b"INFO"), chunk(b"data", pcm(3, seed=4))))
    whole = check(path, 5, 1e-6)
    assert whole.notices == []
    expected = without_offset(np.frombuffer(pcm(2) + pcm(3, seed=4), "<i2") / 32_768)
    np.testing.assert_allclose(whole.samples, expected, atol=1e-6)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 32_000 * 2])
def test_wav_whose_header_is_too_short_by_more_than_16_mib(tmp_path, monkeypatch, size):
    """A recording of more than 4 GiB, whose length wrapped; a smaller limit stands for 16 MiB."""
    monkeypatch.setattr(wav, "LARGEST_REMAINDER", 1 << 12)
    path = tmp_path / "wrapped.wav"
    path.write_bytes(wav_file(chunk(b"data", pcm(5), size)))
    whole = check(path, 5, 1e-6)
    assert [notice.startswith(f"{path}: the header gives too short a length") for notice in whole.notices] == (
        [True] if size == 64_000 else []
    )


def test_wav_with_bytes_after_the_audio(tmp_path):
    path = tmp_path / "more.wav"
    path.write_bytes(wav_file(chunk(b"data", pcm(5)), bytes(32_000)))
    (notice,) = check(path, 5, 1e-6).notices
    assert notice == f"{path}: left out 32000 bytes after the audio (1.0 s if they are audio)"
    path.write_bytes(wav_file(chunk(b"data", pcm(5)), bytes(100)))
    assert check(path, 5, 1e-6).notices == []


@pytest.mark.parametrize("after", [chunk(b"LIST", b"INFO" + bytes(30_000)), chunk(b"id3 ", bytes(99_999)), b"\0", b""])
@pytest.mark.parametrize("before", [b"", chunk(b"bext", bytes(602)), chunk(b"JUNK", bytes(100_001))])
def test_wav_with_other_chunks(tmp_path, before, after):
    path = tmp_path / "chunks.wav"
    path.write_bytes(wav_file(before, chunk(b"data", pcm(5)), after))
    assert check(path, 5, 1e-6).notices == []


def test_rf64(tmp_path):
    path = tmp_path / "long.rf64"
    soundfile.write(path, SOUND, RATE, format="RF64")
    assert path.read_bytes()[:4] == b"RF64"
    check(path, SECONDS, 1e-6)
    content = pcm(2)
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(content), 0, 0))
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + sizes + wav_file(chunk(b"data", content, 0xFFFFFFFF))[12:])
    check(path, 2, 1e-6)


def test_empty_wav_with_a_chunk_after_it(tmp_path):
    path = tmp_path / "none.wav"
    path.write_bytes(wav_file(chunk(b"data", b""), chunk(b"LIST", b"INFO" + bytes(30_000))))
    for read in (decode, piped):
        with pytest.raises(AudioError, match=r"contains no samples|not audio"):
            read(path)


def test_joined_and_incomplete_ogg(tmp_path):
    for name, seed in (("a", 1), ("b", 2)):
        soundfile.write(tmp_path / f"{name}.ogg", make_sound(4, 16_000, seed=seed), 16_000)
    content = (tmp_path / "a.ogg").read_bytes()
    path = tmp_path / "joined.ogg"
    path.write_bytes(content + (tmp_path / "b.ogg").read_bytes())
    whole, pipe = decode(path), piped(path)
    assert whole.duration == pytest.approx(8, abs=0.1)
    np.testing.assert_array_equal(whole.samples, pipe.samples)

    pages = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]
    assert len(pages) > 6
    path.write_bytes(content[: pages[4]] + content[pages[5] :])
    whole, pipe = decode(path), piped(path)
    np.testing.assert_array_equal(whole.samples, pipe.samples)
    assert whole.duration == pytest.approx(4, abs=0.1)


PAGE = b"<!DOCTYPE html><html><body>%s</body></html>\n" % (b"<p>text</p>" * 5000)


@pytest.mark.parametrize("ending", ["au", "snd", "vox", "gsm", "raw", "mp3", "wav", "g722", "sln", "al", "adp", "ac3"])
@pytest.mark.parametrize("content", [PAGE, bytes(9999)])
def test_the_ending_never_decides(tmp_path, ending, content):
    path = tmp_path / f"page.{ending}"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=r"page\.\w+: not audio that sedkit can decode"):
        decode(path)
    with pytest.raises(AudioError, match="not audio that sedkit can decode"):
        decode(io.BytesIO(content))


FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_24"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ulaw.wav": ("WAV", "ULAW"),
}


@pytest.mark.parametrize("ending", [*FORMATS, "misnamed.wav", "misnamed.mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_file_and_pipe_give_the_same(tmp_path, ending, channels):
    form, subtype = FORMATS.get(ending, ("FLAC", "PCM_16"))
    rate = 48_000 if ending == "opus" else RATE
    sound = np.stack([make_sound(7, rate, seed=seed) for seed in range(channels)], axis=1)
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, sound, rate, format=form, subtype=subtype)
    check(path, 7, 0.01, difference=0.01 if ending == "opus" else 1e-5)  # two decoders of Opus


@pytest.mark.parametrize(
    ("ending", "codec", "form"),
    [
        ("webm", "libopus", None),
        ("mkv", "aac", None),
        ("ts", "aac", "mpegts"),
        ("flv", "aac", None),
        ("avi", "libmp3lame", None),
        ("ac3", "ac3", None),
        ("aac", "aac", "adts"),
        ("mka", "flac", None),
    ],
)
def test_length_of_other_formats(tmp_path, ending, codec, form):
    path = tmp_path / f"a.{ending}"
    sound = make_sound(7, 48_000)
    write(path, [Audio(sound, 48_000 if codec == "libopus" else 44_100, codec)], form=form)
    check(path, 7 if codec == "libopus" else 7 * 48_000 / 44_100, 0.06)


def test_m4a_ends_where_its_header_says(tmp_path):
    path = tmp_path / "a.m4a"
    write(path, [Audio(SOUND, RATE, "aac")])
    assert decode(path).duration == pytest.approx(probe(path).duration, abs=0.001)
    assert decode(path).duration == pytest.approx(SECONDS, abs=0.001)


def test_info_without_counting(tmp_path, mp3):
    """The progress bar does not read the recording twice."""
    assert probe(mp3, count=False).duration == pytest.approx(SECONDS, abs=0.1)
    path = tmp_path / "unknown.wav"
    path.write_bytes(wav_file(chunk(b"data", pcm(5), 0)))
    assert probe(path, count=False).duration is None
    assert probe(path).duration == pytest.approx(5)


@pytest.mark.parametrize("read", [probe, lambda name: list(open_audio(name))])
def test_a_codec_without_a_decoder_is_a_one_line_error(read, tmp_path: Path) -> None:
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 4036, b"WAVE", b"fmt ", 16, 0x9999, 1, 16_000, 32_000, 2, 16, b"data", 4000
    )
    path = tmp_path / "unknown.wav"
    path.write_bytes(header + bytes(4000))
    with pytest.raises(AudioError, match=r"unknown\.wav: .*convert it to wav or flac first"):
        read(str(path))


def test_doubles_beyond_float32_are_refused_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "huge.wav"
    soundfile.write(path, np.full(2000, 1e300), 16_000, "DOUBLE")
    with pytest.raises(AudioError, match=r"samples must be in \[-1, 1\]"):
        list(open_audio(str(path)))


@pytest.mark.parametrize("subtype", ["PCM_16", "ALAC_16", "ALAC_24"])
def test_caf(tmp_path, subtype, capfd):
    """libsndfile reads ALAC where the tables of packets are whole; FFmpeg loses the end of its files."""
    path = tmp_path / "a.caf"
    soundfile.write(path, SOUND, RATE, subtype)
    assert decode(path).duration == pytest.approx(SECONDS, abs=1e-6)
    content = path.read_bytes()
    at = content.find(b"pakt")
    if at < 0:
        return
    for damaged in (
        content[: at + 36] + b"\xff" * 6 + content[at + 42 :],  # a number that is too long
        content.replace(b"pakt", b"free"),
        content[: at + 40],
    ):
        path.write_bytes(damaged)
        with suppress(AudioError):
            assert decode(path).duration <= SECONDS
    assert capfd.readouterr() == ("", "")
