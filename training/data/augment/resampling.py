"""Playback at another speed: resampling of a batch on the device, each waveform at its own rate.

A low-pass filter removes what would alias, and zeros in the spectrum give ``DENSITY`` samples for each one; between
these, a cubic through the four nearest interpolates. Interpolation between the samples themselves would let a tone of
7 kHz alias at -12 dB.
"""

from __future__ import annotations

import torch
from torch import Tensor

DENSITY = 4  # samples, before interpolation, for each sample of the waveform
ROLL_OFF = 0.06  # width of the low-pass filter's edge, as a share of the cut-off frequency


def at_speed(waveforms: Tensor, speeds: Tensor, samples: int) -> Tensor:
    """Resample each waveform to its speed, which changes its pitch by the same factor.

    Parameters
    ----------
    waveforms : [clips, n], with n at least ``samples`` times the highest speed.
    speeds : [clips].

    Returns
    -------
    [clips, samples], from the first sample of each waveform on. The first and last milliseconds are those of a
    periodic waveform.
    """
    length = waveforms.shape[1]
    spectrum = torch.fft.rfft(waveforms)
    frequency = torch.linspace(0, 1, spectrum.shape[1], device=waveforms.device)  # 1: half the sampling rate
    cutoff = 1 / speeds.clamp(min=1)[:, None]
    kept = ((cutoff - frequency) / (ROLL_OFF * cutoff)).clamp(0, 1)
    kept = torch.where(cutoff < 1, 0.5 - 0.5 * torch.cos(torch.pi * kept), 1)
    dense = DENSITY * torch.fft.irfft(spectrum * kept, DENSITY * length)
    position = DENSITY * torch.arange(samples, device=waveforms.device) * speeds[:, None]
    before = position.long()
    x = position - before
    points = [dense.gather(1, (before + offset) % dense.shape[1]) for offset in (-1, 0, 1, 2)]
    weights = (  # of Lagrange's cubic through the points at -1, 0, 1 and 2
        -x * (x - 1) * (x - 2) / 6,
        (x + 1) * (x - 1) * (x - 2) / 2,
        -(x + 1) * x * (x - 2) / 2,
        (x + 1) * x * (x - 1) / 6,
    )
    return sum((point * weight for point, weight in zip(points, weights, strict=True)), torch.zeros_like(x))
