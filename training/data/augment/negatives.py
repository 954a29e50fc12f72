"""Negative recordings: noise, mains hum and tones at any level, labelled as none of the classes.

::

    audio/00000.flac ...                   16 kHz mono
    manifest.csv, manifest.labels.csv      every clip has the label ``-``

Clips of every class contain microphone noise, so weak labels alone cannot teach a network that noise is no class. A
network that was never trained on noise alone assigns it some class.

Each recording depends only on the seed and its number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE
from training.data.augment.soundscapes import Samples, coloured_noise, quantised, rms
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import NONE, Vocabulary
from training.data.store.codecs import encoder
from training.data.store.decoded import Progress
from training.runtime.files import replacing
from training.runtime.prefetch import prefetch

Kind = Callable[[int, tuple[float, float], np.random.Generator], Samples]

MAINS = (50.0, 60.0)  # Hz
LEVELS = (-75.0, -15.0)  # dBFS; below about -70 the log-mel is that of silence
ATTRIBUTION = "python -m training.data"  # never change: it is part of the manifest's hash


def build(
    vocabulary: Vocabulary,
    directory: Path,
    count: int,
    seconds: float = 5.0,
    levels: tuple[float, float] = LEVELS,
    split: str = "train",
    seed: int = 0,
    tones: int = 0,
    hums: int = 0,
    progress: Progress | None = None,
) -> Manifest:
    """Write ``count`` recordings and their manifest: noise, then ``hums`` recordings of hum, then ``tones`` of tones.

    Parameters
    ----------
    vocabulary : the classes of the manifest, none of which the recordings contain.
    seconds : length of each recording.
    levels : minimum and maximum level in dBFS.
    split : split of all recordings.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    kinds = (background_noise,) * (count - hums - tones) + (mains_hum,) * hums + (tone,) * tones
    make = partial(_write, directory, round(seconds * SAMPLE_RATE), levels, seed, kinds)
    names = []
    for name in prefetch(make, range(count), os.cpu_count() or 1):
        names.append(name)
        if progress:
            progress(len(names), count)
    rows = [Row(name, labels=NONE, split=split, license="CC0", attribution=ATTRIBUTION) for name in names]
    manifest = Manifest.from_rows(rows, vocabulary, directory)
    manifest.save(directory / "manifest.csv")
    return manifest


def _write(
    directory: Path, samples: int, levels: tuple[float, float], seed: int, kinds: Sequence[Kind], number: int
) -> str:
    """Write recording ``number`` and return its path, relative to ``directory``."""
    name = f"audio/{number:05}.flac"
    with replacing(directory / name) as temporary:
        sound = kinds[number](samples, levels, np.random.default_rng((seed, number)))
        temporary.write_bytes(encoder("flac", 0)(sound))
    return name


def tone(samples: int, levels: tuple[float, float], random: np.random.Generator) -> Samples:
    """One recording [samples]: one to three tones of constant or gliding pitch, with up to five harmonics.

    The tones may be pulsed, and lie 10 to 60 dB above white noise.
    """
    time = np.arange(samples) / SAMPLE_RATE
    sound = np.zeros(samples)
    for _ in range(random.integers(1, 4)):
        start, octaves = 50 * 2 ** random.uniform(0, 6.5), random.choice((0, 0, random.uniform(-2, 1)))
        pitch = start * 2 ** (octaves * time / time[-1])
        phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
        for harmonic in range(1, random.integers(2, 7)):
            audible = pitch * harmonic < SAMPLE_RATE / 2
            sound += audible * np.sin(harmonic * phase + random.uniform(0, 6)) * random.random() / harmonic
    if random.random() < 0.3:
        sound *= (time * random.uniform(0.5, 8)) % 1 < random.uniform(0.2, 0.8)
    return _above_white_noise(sound, levels, random)


def mains_hum(samples: int, levels: tuple[float, float], random: np.random.Generator) -> Samples:
    """One recording [samples]: mains hum, 10 to 60 dB above white noise."""
    return _above_white_noise(hum(samples, random), levels, random)


def _above_white_noise(sound: NDArray[np.float64], levels: tuple[float, float], random: np.random.Generator) -> Samples:
    sound = sound / max(rms(sound), 1e-9) + random.standard_normal(len(sound)) * 10 ** (-random.uniform(10, 60) / 20)
    return quantised(sound * 10 ** (random.uniform(*levels) / 20) / max(rms(sound), 1e-9))


def background_noise(samples: int, levels: tuple[float, float], random: np.random.Generator) -> Samples:
    """One recording [samples]: noise of a random colour at a level drawn from ``levels``, in dBFS.

    With probability 1/2 the noise is band-limited, with probability 1/2 it has mains hum within 20 dB of its own
    level, and with probability 1/4 a constant offset.
    """
    sound = coloured_noise(samples, random.uniform(0, 2), random)
    if random.random() < 0.5:
        sound = low_passed(sound, 1000 * 8 ** random.random())
    sound /= max(rms(sound), 1e-9)
    if random.random() < 0.5:
        sound += hum(samples, random) * 10 ** (random.uniform(-20, 20) / 20)
    sound *= 10 ** (random.uniform(*levels) / 20) / max(rms(sound), 1e-9)
    if random.random() < 0.25:
        sound += random.choice((-1, 1)) * 10 ** random.uniform(-4, -1)
    return quantised(sound)


def hum(samples: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Mains hum [samples] with RMS 1: harmonics whose amplitudes fall with a random power of their number."""
    frequency = random.choice(MAINS) * random.uniform(0.995, 1.005)
    harmonics = np.arange(1, random.integers(2, 24))
    amplitudes = random.random(len(harmonics)) * harmonics ** -random.uniform(0.3, 2)
    phases = random.uniform(0, 2 * np.pi, len(harmonics))
    angles = 2 * np.pi * frequency * np.arange(samples) / SAMPLE_RATE
    sound: NDArray[np.float64] = amplitudes @ np.sin(harmonics[:, None] * angles + phases[:, None])
    return sound / max(rms(sound), 1e-9)


def low_passed(sound: NDArray[np.float64], corner: float) -> NDArray[np.float64]:
    """``sound`` [samples] through a low-pass at ``corner`` Hz that falls by 24 dB per octave."""
    spectrum = np.fft.rfft(sound)
    frequencies = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum / np.sqrt(1 + (frequencies / corner) ** 8), len(sound))
