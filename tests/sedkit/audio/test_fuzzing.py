"""sedkit.audio: damaged files end in samples or in an AudioError of one line, soon and without other output.

Seeds are written by code and mutated with a fixed seed. ``python -m tests.sedkit.audio.test_fuzzing SECONDS [SEED]``
goes on for longer, with the same checks.
"""

from __future__ import annotations

import os
import random
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sedkit.audio.cutting import Part, open_cutter
from sedkit.audio.reading import open_audio, probe
from sedkit.errors import AudioError
from tests.conftest import make_sound
from tests.sedkit.audio.encoding import Audio, Unseekable, write

SECONDS = 8.0  # of mutations in an ordinary test run
PATIENCE = 20.0  # seconds of processor time for one file; sedkit gives up after 5 without progress
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
LIBSNDFILE = (
    ("a.wav", "WAV", "PCM_16"),
    ("float.wav", "WAV", "FLOAT"),
    ("adpcm.wav", "WAV", "IMA_ADPCM"),
    ("a.rf64", "RF64", "PCM_24"),
    ("a.w64", "W64", "PCM_16"),
    ("a.aiff", "AIFF", "PCM_16"),
    ("a.au", "AU", "PCM_16"),
    ("a.caf", "CAF", "ALAC_16"),
    ("a.flac", "FLAC", "PCM_16"),
    ("a.ogg", "OGG", "VORBIS"),
    ("a.opus", "OGG", "OPUS"),
    ("a.mp3", "MP3", "MPEG_LAYER_III"),
    ("a.voc", "VOC", "PCM_16"),
    ("svx.wav", "SVX", "PCM_16"),
    ("avr.wav", "AVR", "PCM_16"),
    ("sds.wav", "SDS", "PCM_16"),
    ("nist.wav", "NIST", "PCM_16"),
)
FFMPEG = (
    ("a.m4a", "aac", None),
    ("a.mkv", "ac3", None),
    ("a.webm", "libopus", None),
    ("a.ts", "aac", "mpegts"),
    ("a.aac", "aac", "adts"),
    ("a.flv", "aac", "flv"),
    ("a.avi", "mp2", None),
    ("a.mpg", "mp2", "mpeg"),
    ("alac.mov", "alac", "mov"),
)


def make_seeds(folder: Path) -> dict[str, bytes]:
    """Recordings of 1 s in many formats, by file name."""
    stereo = np.stack([make_sound(1, 48_000, seed=seed) for seed in range(2)], axis=1)
    for name, form, subtype in LIBSNDFILE:
        mono = form in ("SVX", "AVR", "SDS", "VOC")
        soundfile.write(folder / name, stereo[:, 0] if mono else stereo, 48_000, format=form, subtype=subtype)
    for name, codec, form in FFMPEG:
        write(folder / name, [Audio(stereo, 48_000, codec)], form=form)
    return {name: (folder / name).read_bytes() for name, *_ in (*LIBSNDFILE, *FFMPEG)}


def flipped(rng: random.Random, data: bytearray) -> None:
    """Flip bits, in the header half of the time."""
    wide = len(data) if rng.random() < 0.5 else min(len(data), 300)
    for _ in range(rng.choice([1, 2, 8, 64, 512])):
        data[rng.randrange(wide)] ^= 1 << rng.randrange(8)


def overwritten(rng: random.Random, data: bytearray) -> None:
    """Set numbers in the header to extremes."""
    for _ in range(rng.choice([1, 2, 4])):
        at = rng.randrange(min(len(data) - 4, rng.choice([64, 256, 1024])))
        struct.pack_into(rng.choice("<>") + "I", data, at, rng.choice(EXTREMES))


def truncated(rng: random.Random, data: bytearray) -> None:
    del data[rng.choice([rng.randrange(1, len(data)), rng.randrange(1, min(200, len(data)))]) :]


def moved(rng: random.Random, data: bytearray) -> None:
    """Delete, insert or repeat a part."""
    at, size = rng.randrange(len(data)), rng.choice([1, 4, 16, 512, 5000])
    part = bytes(data[at : at + size])
    data[at : at + size] = rng.choice([b"", part * 2, part * (2000 // size + 2), rng.randbytes(size) + part])


def nested(rng: random.Random, data: bytearray) -> None:
    """Insert many empty chunks after the head."""
    chunk = rng.choice(
        [b"COMT\0\0\0\0", b"JUNK\0\0\0\0", b"LIST\xff\xff\xff\x7fINFO", b"\0\0\0\x08free", b"\x01\0\0\0"]
    )
    at = rng.choice([4, 8, 12])
    data[at:at] = chunk * rng.choice([10, 1000, 20_000])


def mutate(rng: random.Random, seeds: dict[str, bytes], name: str) -> bytes:
    data = bytearray(seeds[name])
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if len(data) < 16:
            break
        rng.choice([flipped, overwritten, overwritten, truncated, moved, nested])(rng, data)
        if rng.random() < 0.1:
            other = seeds[rng.choice(list(seeds))]
            data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]
    return bytes(data)


def from_file(path: Path) -> None:
    with open_audio(path) as stream:
        assert all(np.isfinite(block).all() for block in stream)
    assert stream.duration > 0


def from_pipe(path: Path) -> None:
    with open(path, "rb") as file, open_audio(Unseekable(file)) as stream:
        for _ in stream:
            pass


def header(path: Path) -> None:
    info = probe(path)
    assert info.sample_rate > 0
    assert info.channels > 0
    assert info.duration is None or 0 <= info.duration < float("inf")


def parts(path: Path) -> None:
    with open_cutter(str(path), lambda notice: None) as cutter:
        spans = [(0.2, 0.4), (0.3, 0.9)]
        wanted = [Part(*span, path.with_name(f"part-{number}{cutter.suffix}")) for number, span in enumerate(spans)]
        for part in cutter.cut(wanted):
            part.path.unlink()


def try_one(path: Path, read: Callable[[Path], None]) -> bool:
    """Whether a file can be read; anything but an AudioError of one line is raised."""
    begun = time.thread_time()
    try:
        read(path)
    except AudioError as error:
        if "\n" in str(error):
            raise ValueError("several lines") from error
        return False
    finally:
        assert time.thread_time() - begun < PATIENCE, "this takes too long"
    return True


def fuzz(folder: Path, seconds: float, seed: int, printed: Callable[[], str]) -> tuple[int, int]:
    """Try mutations for some time; the number of files, and of those that could be read.

    Parameters
    ----------
    printed : returns what has come to standard output and standard error since its last call.
    """
    rng, seeds = random.Random(seed), make_seeds(folder)
    end, tried, read = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        name = rng.choice(list(seeds))
        path = folder / f"mutated{Path(name).suffix}"
        path.write_bytes(mutate(rng, seeds, name))
        reader = rng.choice([from_file, from_file, from_pipe, header, parts])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                read += try_one(path, reader)
            assert not (text := printed()), text
        except Exception as error:
            kept = path.rename(folder / f"failed-{tried}-{name}")
            raise AssertionError(f"{kept}, {reader.__name__}, seed {seed}: {error!r}") from error
        tried += 1
    return tried, read


def test_mutated_files(tmp_path, capfd):
    tried, read = fuzz(tmp_path, SECONDS, 1, lambda: "".join(capfd.readouterr()))
    assert 0 < read < tried


@pytest.mark.slow
def test_mutated_files_for_ten_minutes(tmp_path, capfd):
    fuzz(tmp_path, 600, 2, lambda: "".join(capfd.readouterr()))


def main(seconds: float, seed: int) -> None:
    """Fuzz for some time; what libraries print goes to a file meanwhile."""
    folder = Path(tempfile.mkdtemp())
    screen = os.dup(1)
    with open(folder / "printed", "w") as output, open(folder / "printed", errors="replace") as file:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        try:
            outcome = "{} files, {} could be read".format(*fuzz(folder, seconds, seed, file.read))
        except AssertionError as error:
            outcome = str(error)
    os.write(screen, f"{outcome}; {folder}\n".encode())


if __name__ == "__main__":
    main(float(sys.argv[1]), int((sys.argv[2:] or ["1"])[0]))
