"""The log-mel front end as a torch module, with the same arithmetic in training and in the exported graph.

16 kHz waveform -> 64 mel bands, 256-sample Hann window, 160-sample hop. The DFT has 512 points: with 256, several of
the 64 mel filters would share a single bin and the filter matrix would not have full rank.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.geometry import HOP, SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN, WINDOW

BANDS = 64
POINTS = 512  # DFT points
FLOOR = 1e-6  # power added to each mel band before the logarithm, so that digital silence is -60 dB


def mel_filters() -> NDArray[np.float64]:
    """Mel filter matrix [257 bins, 64 bands] after Slaney (*Auditory Toolbox*, 1998), librosa's default.

    The filters are triangles between points equally spaced on the mel scale, each divided by half its width in Hz.
    The scale is linear below 1 kHz (200/3 Hz per mel) and logarithmic above (27 mel per factor of 6.4).
    """
    linear, knee, octave = 200 / 3, 1000.0, np.log(6.4) / 27
    top = knee / linear + np.log(SAMPLE_RATE / 2 / knee) / octave
    mel = np.linspace(0, top, BANDS + 2)
    corners = np.where(mel < knee / linear, linear * mel, knee * np.exp(octave * (mel - knee / linear)))
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    bins = np.fft.rfftfreq(POINTS, 1 / SAMPLE_RATE)[:, None]
    triangles = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    filters: NDArray[np.float64] = np.maximum(0, triangles) * 2 / (right - left)
    return filters


class LogMel(nn.Module):
    """Waveform [batch, samples] in [-1, 1] -> normalised log-mel [batch, 1, frames, 64].

    Frame ``t`` is ``(10 log10(mel power + FLOOR) - mean) / std``, with the window centred on the samples
    ``[160 t, 160 (t + 1))`` and the filters of :func:`mel_filters`. ``mean`` and ``std`` [64] are measured on the
    training set and stored in the checkpoint. The waveform is zero-padded to a whole number of segment hops, at least
    one segment (sedkit.geometry).

    The Hann window is symmetric, so the samples before and after its centre are added and subtracted before the
    transform. That halves the multiplications and the rounding error.

    Attributes
    ----------
    silence : level in dB; a segment is silent if no band exceeds it. White noise at -70 dBFS just exceeds it.
    """

    silence = 10 * math.log10(FLOOR) + 1

    cosine: Tensor
    sine: Tensor
    mel: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        half = WINDOW // 2
        n = np.arange(half)  # distance from the window's centre, in samples; at n = 128 the window is 0
        window = 0.5 + 0.5 * np.cos(np.pi * n / half)  # periodic Hann
        window[0] /= 2  # the centre is paired with itself and would count twice
        # No mel filter reaches the last bin, 8 kHz.
        angle = 2 * np.pi * np.outer(n, np.arange(POINTS // 2)) / POINTS
        cosine = window[:, None] * np.cos(angle)
        sine = window[:, None] * np.sin(angle)
        self.register_buffer("cosine", torch.from_numpy(cosine).float(), persistent=False)
        self.register_buffer("sine", torch.from_numpy(sine).float(), persistent=False)
        self.register_buffer("mel", torch.from_numpy(mel_filters()[:-1]).float(), persistent=False)
        self.register_buffer("mean", torch.zeros(BANDS))
        self.register_buffer("std", torch.ones(BANDS))

    def decibels(self, waveform: Tensor, response: Tensor | None = None) -> Tensor:
        """Waveform [batch, samples] -> log-mel power in dB, before normalisation [batch, frames, 64].

        ``response`` [batch, 64] is a gain in dB for each band, used for augmentation.
        """
        samples = waveform.shape[-1]
        padded = torch.sym_max(SEGMENT_SPAN, (samples + SEGMENT_HOP - 1) // SEGMENT_HOP * SEGMENT_HOP)
        # Two views of the same samples, HOP - 1 apart: row t of `before` ends with the centre of frame t,
        # and row t of `after` begins with it.
        centre = HOP // 2
        waveform = F.pad(waveform, (HOP - 1 - centre, centre + padded - samples))
        before = waveform[..., : 1 - HOP].unflatten(-1, (-1, HOP))[..., HOP - WINDOW // 2 :].flip(-1)
        after = waveform[..., HOP - 1 :].unflatten(-1, (-1, HOP))[..., : WINDOW // 2]
        real = (after + before) @ self.cosine
        imaginary = (after - before) @ self.sine
        power = (real * real + imaginary * imaginary) @ self.mel
        if response is not None:
            power = power * (10 ** (response / 10)).unsqueeze(1)
        return 10 * torch.log10(power + FLOOR)

    def normalise(self, decibels: Tensor) -> Tensor:
        """Log-mel in dB [batch, frames, 64] -> normalised input of the network [batch, 1, frames, 64]."""
        return ((decibels - self.mean) / self.std).unsqueeze(1)

    def forward(self, waveform: Tensor, response: Tensor | None = None) -> Tensor:
        return self.normalise(self.decibels(waveform, response))
