"""What lies between a sound and its recording, as augmentation: a room, noise, a tape that runs fast or slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sedkit.geometry import SAMPLE_RATE
from training.data.audio import FULL_SCALE
from training.data.soundscapes import coloured_noise, quantised, rms

Samples = NDArray[np.int16]
DIRECT = (-3.0, 12.0)  # dB of the direct sound above the reverberation


def at_speed(clip: Samples, samples: int) -> Samples:
    """``clip`` played in the time of ``samples``: faster and higher, or slower and lower (linear interpolation)."""
    if len(clip) == samples:
        return clip
    return np.rint(np.interp(np.linspace(0, len(clip) - 1, samples), np.arange(len(clip)), clip)).astype(np.int16)


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
    sound = clip / FULL_SCALE
    noise = coloured_noise(len(clip), random.uniform(0, 2), random)
    return quantised(sound + noise * (rms(sound) / max(rms(noise), 1e-9) / 10 ** (snr / 20)))
