"""Write a recording to try sedkit on: ``python examples/demo.py demo.wav``.

It contains everyday sounds, synthesised from sines and noise with a fixed seed and separated by silence. The script
prints strong labels as tab-separated lines: onset, offset, label.

The sounds were chosen and tuned so that the shipped models recognise them. This is a demonstration, not a measurement.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import soundfile
from numpy.typing import NDArray

Sound = NDArray[np.float64]

RATE = 16_000  # Hz
GAP = 0.7  # seconds of silence between sounds
PEAK = 0.5  # loudest sample of each sound
ROOM = 2e-4  # level of the background noise
RNG = np.random.default_rng(20)


def clock(seconds: float) -> Sound:
    """Time of each sample in seconds."""
    return np.arange(round(seconds * RATE)) / RATE


def noise(seconds: float, low: float, high: float) -> Sound:
    """Band-limited noise with a standard deviation of 1."""
    samples = round(seconds * RATE)
    spectrum = np.fft.rfft(RNG.standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / RATE)
    spectrum *= 1 / np.sqrt(1 + (low / np.maximum(hertz, 1)) ** 8) / np.sqrt(1 + (hertz / high) ** 8)
    sound = np.fft.irfft(spectrum, samples)
    return sound / sound.std()


def modes(seconds: float, partials: list[tuple[float, float, float]]) -> Sound:
    """A struck object: partials of (Hz, level, seconds to decay by 60 dB) with random phases."""
    t = clock(seconds)
    return sum(
        level * np.exp(-6.9 * t / decay) * np.sin(2 * np.pi * hertz * t + RNG.uniform(0, 2 * np.pi))
        for hertz, level, decay in partials
    )


def tone(hertz: Sound, harmonics: int) -> Sound:
    """A bright tone with a frequency for every sample; harmonics fall by 4.5 dB per octave."""
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    return sum(np.sin(k * phase) / k**0.75 * (k * hertz < 0.45 * RATE) for k in range(1, harmonics + 1))


def place(seconds: float, hits: list[tuple[float, Sound]]) -> Sound:
    """Mix sounds, each starting at its own time in seconds."""
    out = np.zeros(round(seconds * RATE))
    for start, sound in hits:
        first = round(start * RATE)
        sound = sound[: len(out) - first]
        out[first : first + len(sound)] += sound
    return out


def swell(sound: Sound, seconds: float = 0.6) -> Sound:
    """Fade a sound in and out, as if it approached and moved away."""
    ramp = np.minimum(1, np.arange(len(sound)) / (seconds * RATE))
    return sound * ramp * ramp[::-1]


def siren(seconds: float = 4.0) -> Sound:
    """Two wails from 600 to 1300 Hz and back, with an echo."""
    sweep = 600 + 700 * (0.5 - 0.5 * np.cos(4 * np.pi * clock(seconds) / seconds))
    direct = tone(sweep, 6)
    return swell(place(seconds, [(0.0, direct), (0.09, 0.35 * direct), (0.17, 0.2 * direct)]))


def door_knock(seconds: float = 1.7) -> Sound:
    """Knocks on a wooden door: damped modes of the panel and a short, dull click."""

    def knock() -> Sound:
        panel = [
            (hertz * RNG.uniform(0.98, 1.02), level, decay)
            for hertz, level, decay in ((150, 1.0, 0.08), (240, 0.9, 0.08), (410, 0.9, 0.06), (700, 0.6, 0.05))
        ]
        click = noise(0.3, 150, 1500) * np.exp(-clock(0.3) / 0.015)
        return RNG.uniform(0.8, 1.0) * (modes(0.3, panel) + 0.8 * click)

    return place(seconds, [(start, knock()) for start in (0.0, 0.22, 0.44, 0.95, 1.17, 1.39)])


def alarm_clock(seconds: float = 3.0) -> Sound:
    """Four quick beeps of a piezo buzzer every second."""
    t = clock(0.075)
    beep = tone(np.full(len(t), 2048.0), 3) * np.minimum(1, np.minimum(t, t[::-1]) / 0.003)
    return place(seconds, [(second + 0.125 * k, beep) for second in range(int(seconds)) for k in range(4)])


def rain(seconds: float = 4.0) -> Sound:
    """The hiss of distant drops, and distinct near ones."""

    def drop() -> Sound:
        return RNG.exponential(0.6) * noise(0.02, 1500, 6500) * np.exp(-clock(0.02) / 0.002)

    drops = [(start, drop()) for start in RNG.uniform(0, seconds - 0.03, round(120 * seconds)).tolist()]
    return place(seconds, [(0.0, noise(seconds, 200, 5000)), *drops])


DEMO: list[tuple[str, Callable[[], Sound]]] = [  # AudioSet's display names
    ("Knock", door_knock),
    ("Siren", siren),
    ("Alarm clock", alarm_clock),
    ("Rain", rain),
]


def demo() -> tuple[Sound, list[tuple[float, float, str]]]:
    """The recording, and (onset, offset, label) of each sound in it, in seconds."""
    pieces, labels, now = [np.zeros(round(GAP * RATE))], [], GAP
    for label, make in DEMO:
        sound = make()
        fade = np.minimum(1, np.arange(len(sound))[::-1] / (0.05 * RATE))
        pieces += [PEAK * fade * sound / np.abs(sound).max(), np.zeros(round(GAP * RATE))]
        labels.append((now, now + len(sound) / RATE, label))
        now = sum(map(len, pieces)) / RATE
    recording = np.concatenate(pieces)
    return recording + ROOM * RNG.standard_normal(len(recording)), labels


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/demo.py demo.wav")
    recording, labels = demo()
    soundfile.write(sys.argv[1], recording, RATE, subtype="PCM_16")
    for onset, offset, label in labels:
        print(f"{onset:.2f}\t{offset:.2f}\t{label}")
