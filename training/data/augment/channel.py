"""Simulated recording conditions, as augmentation: reverberation and noise."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE
from training.data.audio import FULL_SCALE
from training.data.augment.soundscapes import coloured_noise, quantised, rms

Samples = NDArray[np.int16]
COLOURS = 17  # of noise, from white to brown
TAPE = 1 << 19  # samples of noise of each colour
DIRECT = (-3.0, 12.0)  # dB, range of the direct-to-reverberant ratio


def reverberant(clip: Samples, t60: float, random: np.random.Generator) -> Samples:
    """``clip`` [samples] with the reverberation of a room, at the same RMS level.

    The room's impulse response is the direct sound and exponentially decaying noise (Polack's model).

    Parameters
    ----------
    t60 : reverberation time in s, in which the reverberation decays by 60 dB.
    """
    time = np.arange(1, max(2, round(t60 * SAMPLE_RATE))) / SAMPLE_RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / t60)
    tail *= 10 ** (-random.uniform(*DIRECT) / 20) / np.sqrt(np.square(tail).sum())
    length = 1 << (len(clip) + len(tail)).bit_length()
    spectrum = np.fft.rfft(clip / FULL_SCALE, length)
    sound = np.fft.irfft(spectrum * np.fft.rfft(np.concatenate([[1.0], tail]), length), length)[: len(clip)]
    return quantised(sound * (rms(clip / FULL_SCALE) / max(rms(sound), 1e-9)))


def noisy(clip: Samples, snr: float, random: np.random.Generator) -> Samples:
    """``clip`` [samples] with added noise of a random colour, ``snr`` dB below the clip's RMS level."""
    tape = noise_tape(int(random.integers(COLOURS)))
    noise = np.resize(np.roll(tape, -random.integers(len(tape)))[: len(clip)], len(clip))
    gain = rms(clip / FULL_SCALE) / max(rms(noise), 1e-9) / 10 ** (snr / 20)
    return quantised(clip / FULL_SCALE + noise * gain)


@cache
def noise_tape(colour: int) -> NDArray[np.float32]:
    """[TAPE] noise that can be repeated without a seam, about 33 s. Colour 0 is white, ``COLOURS`` - 1 brown."""
    slope = 2 * colour / (COLOURS - 1)
    return coloured_noise(TAPE, slope, np.random.default_rng(colour)).astype(np.float32)
