"""What lies between a sound and its recording, as augmentation: a room, noise."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE
from training.data.audio import FULL_SCALE
from training.data.augment.soundscapes import coloured_noise, quantised, rms

Samples = NDArray[np.int16]
COLOURS, TAPE = 17, 1 << 19  # colours of noise that there are, and samples of each
DIRECT = (-3.0, 12.0)  # dB of the direct sound above the reverberation


def reverberant(clip: Samples, t60: float, random: np.random.Generator) -> Samples:
    """``clip`` in a room where sound falls by 60 dB in ``t60`` seconds, as loud as before.

    The room's response is the direct sound and exponentially decaying noise (Polack's model).
    """
    time = np.arange(1, max(2, round(t60 * SAMPLE_RATE))) / SAMPLE_RATE
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / t60)
    tail *= 10 ** (-random.uniform(*DIRECT) / 20) / np.sqrt(np.square(tail).sum())
    length = 1 << (len(clip) + len(tail)).bit_length()
    spectrum = np.fft.rfft(clip / FULL_SCALE, length)
    sound = np.fft.irfft(spectrum * np.fft.rfft(np.concatenate([[1.0], tail]), length), length)[: len(clip)]
    return quantised(sound * (rms(clip / FULL_SCALE) / max(rms(sound), 1e-9)))


def noisy(clip: Samples, snr: float, random: np.random.Generator) -> Samples:
    """``clip`` with noise of some colour from white to brown, ``snr`` dB below the clip's own level."""
    tape = noise_tape(int(random.integers(COLOURS)))
    noise = np.resize(np.roll(tape, -random.integers(len(tape)))[: len(clip)], len(clip))
    loud = rms(clip / FULL_SCALE) / max(rms(noise), 1e-9) / 10 ** (snr / 20)
    return quantised(clip / FULL_SCALE + noise * loud)


@cache
def noise_tape(colour: int) -> NDArray[np.float32]:
    """Half a minute of noise that joins on to itself: 0 is white, ``COLOURS`` - 1 brown."""
    slope = 2 * colour / (COLOURS - 1)
    return coloured_noise(TAPE, slope, np.random.default_rng(colour)).astype(np.float32)
