"""A small data set made by code, on which the whole cascade can be tried in minutes: folders of synthetic sounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE
from training.data.augment.soundscapes import coloured_noise, faded
from training.runtime.files import replacing

SECONDS = 3.0
Sound = NDArray[np.float64]


def beep(random: np.random.Generator, time: Sound) -> Sound:
    """Short tones of one pitch, repeated."""
    return np.sin(2 * np.pi * random.uniform(700, 1500) * time) * ((time * random.uniform(2, 4)) % 1 < 0.4)


def chirp(random: np.random.Generator, time: Sound) -> Sound:
    """Rising sweeps, repeated."""
    phase = (time * random.uniform(3, 6)) % 1
    return np.sin(2 * np.pi * random.uniform(250, 400) * (4 * phase + 3 * phase**2)) * np.sin(np.pi * phase)


def knock(random: np.random.Generator, time: Sound) -> Sound:
    """Dull clicks that decay fast."""
    since = ((time * random.uniform(2, 5)) % 1) / 4
    return np.sin(2 * np.pi * random.uniform(90, 250) * since) * np.exp(-since / 0.02)


def hum(random: np.random.Generator, time: Sound) -> Sound:
    """A mains hum: harmonics of one low pitch."""
    pitch = random.uniform(50, 120)
    harmonics = [np.sin(2 * np.pi * pitch * n * time + random.uniform(0, 6)) / n for n in range(1, 9)]
    return np.asarray(np.sum(harmonics, 0)) / 2


def siren(random: np.random.Generator, time: Sound) -> Sound:
    """A tone that goes up and down."""
    rate = random.uniform(0.4, 1.2)
    return np.sin(2 * np.pi * random.uniform(700, 900) * time + 180 * np.sin(2 * np.pi * rate * time) / rate)


def hiss(random: np.random.Generator, time: Sound) -> Sound:
    """Noise in short puffs."""
    return 0.4 * random.standard_normal(len(time)) * ((time * random.uniform(1, 2)) % 1 < 0.5)


CLASSES: dict[str, Callable[[np.random.Generator, Sound], Sound]] = {
    "Beep": beep,
    "Chirp": chirp,
    "Hiss": hiss,
    "Hum": hum,
    "Knock": knock,
    "Siren": siren,
}


def make_clip(sound: Callable[[np.random.Generator, Sound], Sound], random: np.random.Generator) -> Sound:
    """A clip of ``SECONDS`` seconds: the sound for 0.8 to 2 s of it, 5 to 25 dB above noise; samples in [-1, 1]."""
    samples = round(SECONDS * SAMPLE_RATE)
    length = round(random.uniform(0.8, 2.0) * SAMPLE_RATE)
    onset = random.integers(samples - length)
    background = coloured_noise(samples, random.uniform(0, 2), random)
    clip = 0.02 * background / np.abs(background).max()
    level = np.sqrt(np.mean(clip**2)) * 10 ** (random.uniform(5, 25) / 20)
    event = faded(sound(random, np.arange(length) / SAMPLE_RATE))
    clip[onset : onset + length] += level * event / np.sqrt(np.mean(event**2) + 1e-12)
    return np.asarray(clip / max(1.0, float(np.abs(clip).max())))


def make_demo(folder: Path, count: int = 30, seed: int = 0) -> int:
    """Write ``count`` clips of each class to ``folder/CLASS/NN.flac``; returns the number of clips.

    Raises
    ------
    OutputError
        If a clip cannot be written.
    """
    for number, (name, sound) in enumerate(CLASSES.items()):
        for clip in range(count):
            samples = make_clip(sound, np.random.default_rng((seed, number, clip)))
            with replacing(folder / name / f"{clip:02}.flac") as temporary, temporary.open("wb") as file:
                soundfile.write(file, samples, SAMPLE_RATE, format="FLAC")
    return count * len(CLASSES)
