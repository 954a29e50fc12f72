"""Recordings to measure on: random excerpts of real clips, different every time.

Timings on zeros, silence or one repeated buffer are misleading: caches and branch predictors adapt to them, and
denormal or quantised values run at other speeds than audio does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE

Samples = NDArray[np.float32]

POOL = 300  # clips decoded per run: about half an hour
FRAME = SAMPLE_RATE // 10
QUIET = 1e-3  # frames of 0.1 s with a lower peak are padding or pauses, and are left out
PIECE = (0.7, 4.0)  # seconds of one clip before the next
GAIN = (0.3, 1.0)
SYNTHETIC = 60  # clips of five seconds, if there are no real ones
CHUNK = 600  # seconds of a long file that are written at once


class Recordings:
    """An endless supply of new recordings, joined from random excerpts of a random choice of clips.

    Parameters
    ----------
    data : folder of real recordings (``$SEDKIT_DATA``, or ``shared/data`` beside the checkout). If it
        has no clips, noise and tones are used instead, and ``real`` is False.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.files = sorted(data.glob("*/audio/*.ogg"))
        self.real = bool(self.files)
        self._random = np.random.default_rng()
        self._pool: list[Samples] = []

    def samples(self, seconds: float) -> Samples:
        """A recording, float32 [samples] at 16 kHz in [-1, 1]."""
        length = round(seconds * SAMPLE_RATE)
        pieces: list[Samples] = []
        while (missing := length - sum(map(len, pieces))) > 0:
            pieces.append(self._piece()[:missing])
        return np.concatenate(pieces)

    def many(self, count: int, seconds: float) -> Iterator[Samples]:
        """Generate ``count`` recordings."""
        return (self.samples(seconds) for _ in range(count))

    def write_wav(self, path: Path, seconds: float, rate: int = SAMPLE_RATE) -> Path:
        """Write a recording as a 16-bit mono WAV file, in chunks, so that long ones need little memory."""
        import soundfile
        import soxr

        with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
            for start in range(0, round(seconds), CHUNK):
                chunk = self.samples(min(CHUNK, seconds - start))
                file.write(chunk if rate == SAMPLE_RATE else soxr.resample(chunk, SAMPLE_RATE, rate))
        return path

    def short_files(self, count: int, folder: Path) -> list[Path]:
        """``count`` Ogg files of 5 s: clips of ESC-50 if there are enough, else generated ones."""
        clips = [path for path in self.files if path.parts[-3] == "esc50"]
        if len(clips) >= count:
            return [clips[at] for at in self._random.permutation(len(clips))[:count]]
        import soundfile

        folder.mkdir(exist_ok=True)
        paths = [folder / f"{number}.ogg" for number in range(count)]
        for path, samples in zip(paths, self.many(count, 5), strict=True):
            soundfile.write(path, samples, SAMPLE_RATE, format="OGG", subtype="VORBIS")
        return paths

    def describe(self) -> str:
        if self.real:
            return f"random excerpts of {len(self.files)} real clips, redrawn for every run"
        return f"SYNTHETIC noise and tones, no valid measurement: no real clips in {self.data} (set SEDKIT_DATA)"

    def _piece(self) -> Samples:
        if not self._pool:
            self._pool = list(self._decoded() if self.real else self._synthesised())
        clip = self._pool[self._random.integers(len(self._pool))]
        length = min(len(clip), int(self._random.uniform(*PIECE) * SAMPLE_RATE))
        start = self._random.integers(len(clip) - length + 1)
        return clip[start : start + length] * np.float32(self._random.uniform(*GAIN))

    def _decoded(self) -> Iterator[Samples]:
        import soundfile

        for at in self._random.permutation(len(self.files))[:POOL]:
            clip = soundfile.read(self.files[at], dtype="float32", always_2d=True)[0][:, 0]
            frames = clip[: len(clip) // FRAME * FRAME].reshape(-1, FRAME)
            audible = frames[np.abs(frames).max(axis=1) > QUIET]
            if len(audible):
                yield np.clip(audible.ravel(), -1, 1)

    def _synthesised(self) -> Iterator[Samples]:
        time = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
        for _ in range(SYNTHETIC):
            tone = np.sin(2 * np.pi * self._random.uniform(100, 4000) * time)
            noise = np.cumsum(self._random.standard_normal(len(time))) if self._random.random() < 0.5 else 0
            sound = tone + self._random.uniform(0.1, 1) * self._random.standard_normal(len(time)) + 0.02 * noise
            yield (0.8 * sound / np.abs(sound).max()).astype(np.float32)


def data_folder() -> Path:
    return Path(os.environ.get("SEDKIT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
