"""Cutting parts out of recordings: the very samples, or what the decoder gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.audio.cutting import DecodedCutter, Part, PcmCutter, open_cutter
from sedkit.audio.reading import open_audio
from sedkit.errors import AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, write


def cut(name: Path, *spans: tuple[float, float], track: int | None = None) -> list[Path | None]:
    """The files of parts of a recording, beside it."""
    with open_cutter(str(name), lambda notice: None, track) as cutter:
        parts = [Part(*span, name.with_name(f"{number}{cutter.suffix}")) for number, span in enumerate(spans)]
        done = set(cutter.cut(parts))
    assert not list(name.parent.glob(".*.tmp"))
    return [part.path if part in done else None for part in parts]


@pytest.mark.parametrize(
    ("ending", "subtype", "written"),
    [
        ("wav", "PCM_16", "PCM_16"),
        ("wav", "PCM_24", "PCM_24"),
        ("wav", "PCM_32", "PCM_32"),
        ("wav", "PCM_U8", "PCM_U8"),
        ("wav", "FLOAT", "FLOAT"),
        ("wav", "DOUBLE", "DOUBLE"),
        ("flac", "PCM_16", "PCM_16"),
        ("flac", "PCM_24", "PCM_24"),
        ("aiff", "PCM_S8", "PCM_U8"),
        ("aiff", "PCM_24", "PCM_24"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_pcm_is_copied_sample_by_sample(tmp_path: Path, ending, subtype, written, channels):
    source, rate = tmp_path / f"source.{ending}", 22_050
    samples = np.random.default_rng(0).uniform(-1, 1, (rate * 4, channels))
    soundfile.write(source, samples, rate, subtype)
    (path,) = cut(source, (1.25, 3.5))
    with soundfile.SoundFile(path) as file:
        assert (file.samplerate, file.channels, file.subtype) == (rate, channels, written)
        assert file.format == ("FLAC" if ending == "flac" else "WAV")
        found = file.read(dtype="float64", always_2d=True)
    expected = soundfile.read(source, dtype="float64", always_2d=True)[0]
    np.testing.assert_array_equal(found, expected[round(1.25 * rate) : round(3.5 * rate)])


@pytest.mark.parametrize(("ending", "codec"), [("mp3", "libmp3lame"), ("m4a", "aac")])
def test_compressed_audio_becomes_flac_of_the_decoded_samples(tmp_path: Path, ending, codec):
    source, rate = tmp_path / f"source.{ending}", 44_100
    write(source, [Audio(make_sound(6, rate), rate, codec)])
    spans = [(4.0, 5.5), (0.5, 2.25), (0.5, 4.5)]  # out of order, overlapping
    with open_audio(source) as stream:
        assert stream.sample_rate == rate
    decoded = np.concatenate([chunk.samples for chunk in chunks(source)], axis=1)[0]
    for path, (start, end) in zip(cut(source, *spans), spans, strict=True):
        assert path.suffix == ".flac"
        found, found_rate = soundfile.read(path)
        expected = decoded[round(start * rate) : round(end * rate)].clip(-1, 1)
        assert (found_rate, len(found)) == (rate, len(expected))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2 / 2**15)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not list open files")
def test_parts_that_overlap_open_few_files_at_a_time(tmp_path: Path):
    source, rate = tmp_path / "source.ogg", 16_000
    soundfile.write(source, make_sound(4, rate), rate, format="OGG", subtype="VORBIS")
    decoded = np.concatenate([chunk.samples for chunk in chunks(source)], axis=1)[0]
    before, most = len(os.listdir("/proc/self/fd")), 0
    with open_cutter(str(source), lambda notice: None) as cutter:
        parts = [Part(number / 200, 2 + number / 200, tmp_path / f"{number}.flac") for number in range(250)]
        done = []
        for part in cutter.cut(parts):
            most = max(most, len(os.listdir("/proc/self/fd")) - before)
            done.append(part)
    assert most < 120
    assert sorted(done) == parts
    for part in parts[::50]:
        expected = decoded[round(part.start * rate) : round(part.end * rate)].clip(-1, 1)
        np.testing.assert_allclose(soundfile.read(part.path)[0], expected, rtol=0, atol=2 / 2**15)


def chunks(source: Path):
    from sedkit.audio.opening import decode

    with source.open("rb") as file:
        yield from decode(file, str(source), lambda notice: None, None, str(source))


def test_a_film_is_cut_on_its_own_clock_and_by_track(tmp_path: Path):
    film, rate = tmp_path / "film.mkv", 16_000
    late = np.full(3 * rate, 0.5, np.float32)
    write(film, [Audio(np.zeros(5 * rate, np.float32), rate, "flac"), Audio(late, rate, "flac", start=2.0)], video=5)
    before, inside = cut(film, (0.5, 1.5), (2.5, 3.5), track=2)
    assert not soundfile.read(before)[0].any()
    np.testing.assert_allclose(soundfile.read(inside)[0], 0.5, atol=1e-4)
    assert soundfile.info(inside).subtype == "PCM_24"  # a lossless codec
    assert not soundfile.read(cut(film, (2.5, 3.5), track=1)[0])[0].any()


def test_parts_beyond_the_end_have_no_file_and_others_end_with_the_recording(tmp_path: Path):
    for ending in ("wav", "ogg"):
        source = tmp_path / f"source.{ending}"
        soundfile.write(source, make_sound(2), 16_000)
        end, nothing = cut(source, (1.5, 9.0), (2.5, 3.0))
        assert soundfile.info(end).frames == pytest.approx(8_000, abs=1)
        assert nothing is None


def test_a_header_that_lies_is_not_believed(tmp_path: Path):
    """A recorder that was interrupted leaves a length of 0; FFmpeg reads what is there."""
    source = tmp_path / "cut.wav"
    soundfile.write(source, make_sound(3), 16_000, "PCM_16")
    content = bytearray(source.read_bytes())
    content[40:44] = bytes(4)
    source.write_bytes(content)
    with open_cutter(str(source), lambda notice: None) as cutter:
        assert isinstance(cutter, DecodedCutter)
    (path,) = cut(source, (1.0, 2.0))
    np.testing.assert_allclose(soundfile.read(path)[0], make_sound(3)[16_000:32_000], atol=2 / 2**15)


@pytest.mark.parametrize(("rate", "outcome"), [(700_000, ".wav"), (1_048_575, "out of range")])
def test_the_rate_in_a_flac_header_need_not_be_one_that_flac_files_can_have(tmp_path: Path, rate, outcome):
    source = tmp_path / "fast.flac"
    soundfile.write(source, make_sound(1), 16_000)
    content = bytearray(source.read_bytes())
    head = int.from_bytes(content[18:22], "big")
    content[18:22] = ((head & 0xFFF) | rate << 12).to_bytes(4, "big")
    source.write_bytes(content)
    if outcome == ".wav":
        (path,) = cut(source, (0.0, 0.01))
        assert (path.suffix, soundfile.info(path).samplerate) == (outcome, rate)
    else:
        with pytest.raises(AudioError, match=outcome):
            cut(source, (0.0, 0.01))


@pytest.mark.parametrize(("rate", "ending"), [(65_535, "flac"), (65_537, "wav"), (65_540, "flac"), (655_360, "wav")])
def test_what_flac_cannot_hold_is_wav(tmp_path: Path, rate: int, ending: str):
    write(tmp_path / "source.mka", [Audio(make_sound(0.5, 16_000), rate, "pcm_s16le")])
    (path,) = cut(tmp_path / "source.mka", (0.0, 0.05))
    assert path.suffix == f".{ending}"
    assert soundfile.info(path).samplerate == rate


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_samples_that_no_file_can_hold_are_an_error(tmp_path: Path, value: float):
    """Where samples are decoded, not copied: here because the header gives no length."""
    samples = np.stack([make_sound(3), make_sound(3, seed=1)], axis=1)
    samples[24_000, 1] = value
    source = tmp_path / "float.wav"
    soundfile.write(source, samples, 16_000, "FLOAT")
    content = bytearray(source.read_bytes())
    at = content.index(b"data")
    content[at + 4 : at + 8] = bytes(4)
    source.write_bytes(content)
    assert cut(source, (0.0, 1.0)) == [tmp_path / "0.flac"]
    with pytest.raises(AudioError, match=r"float\.wav: sample .* at 1\.500 s"):
        cut(source, (1.25, 2.0))
    assert not list(tmp_path.glob(".*"))


def test_only_files_can_be_cut(tmp_path: Path):
    import os

    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="save the stream"), open_cutter(str(tmp_path / "pipe.wav"), print):
        pass
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(AudioError, match="not audio"), open_cutter(str(tmp_path / "text.wav"), print):
        pass


def test_an_interrupted_cut_leaves_nothing(tmp_path: Path):
    for ending, kind in (("wav", PcmCutter), ("ogg", DecodedCutter)):
        source = tmp_path / f"source.{ending}"
        soundfile.write(source, make_sound(30), 16_000)
        with open_cutter(str(source), lambda notice: None) as cutter:
            assert isinstance(cutter, kind)
            parts = [Part(start, 29.0, tmp_path / f"{start}{cutter.suffix}") for start in (1.0, 2.0)]
            cutting = cutter.cut(parts)
            next(cutting)
            cutting.close()
        assert parts[0].path.exists() or parts[1].path.exists()
    assert not list(tmp_path.glob(".*"))
