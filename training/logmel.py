"""The log-mel front end as a torch module: the same arithmetic in training and in the exported graph.

16 kHz waveform -> 64 mel bands, 256-sample Hann window, 160-sample hop. The window is evaluated on
512 points: on 256 points several of the 64 mel filters would rest on one shared bin and the filter
matrix would have less than full rank.
"""

from __future__ import annotations

import librosa
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.geometry import HOP, SAMPLE_RATE, SEGMENT_HOP, SEGMENT_SPAN, WINDOW, WINDOW_MARGIN

BANDS = 64
POINTS = 512  # DFT points
FLOOR = 1e-6  # power added to every mel band before the logarithm: digital silence reads -60 dB


class LogMel(nn.Module):
    """Waveform [batch, samples] in [-1, 1] -> normalised log-mel [batch, 1, frames, 64].

    Frame ``t`` is ``10 log10(mel power + FLOOR)`` of the window centred on samples
    ``[160 t, 160 (t + 1))`` (Slaney-style mel filters, as ``librosa.filters.mel``), minus ``mean``,
    over ``std``: 64 numbers each, measured on the training set and kept in the checkpoint.
    The waveform is zero-padded to whole segment hops, and to one segment at least (sedkit.geometry).

    A Hann window is symmetric about sample 128, so the even and the odd half of the windowed frame
    are folded before the transform: half the products, and half the rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        half = WINDOW // 2
        n = np.arange(half + 1)  # distance from the window's centre, in samples
        window = 0.5 + 0.5 * np.cos(np.pi * n / half)  # periodic Hann, 1 at its centre, 0 at n = 128
        angle = 2 * np.pi * np.outer(n, np.arange(POINTS // 2 + 1)) / POINTS
        cosine = window[:, None] * np.cos(angle)
        sine = window[:, None] * np.sin(angle)
        mel = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=POINTS, n_mels=BANDS, dtype=np.float64)
        # n = 0 has no partner on the other side; n = 128 has window weight 0.
        self.register_buffer("cosine", torch.from_numpy(cosine[:half]).float(), persistent=False)
        self.register_buffer("sine", torch.from_numpy(sine[1:half]).float(), persistent=False)
        self.register_buffer("mel", torch.from_numpy(mel.T.copy()).float(), persistent=False)
        self.register_buffer("mean", torch.zeros(BANDS))
        self.register_buffer("std", torch.ones(BANDS))

    def decibels(self, waveform: Tensor) -> Tensor:
        """Waveform [batch, samples] -> log-mel power in dB, before normalisation [batch, frames, 64]."""
        samples = waveform.shape[-1]
        padded = torch.sym_max(SEGMENT_SPAN, (samples + SEGMENT_HOP - 1) // SEGMENT_HOP * SEGMENT_HOP)
        # One more hop on the right, so that a frame is its own hop and the start of the next one.
        waveform = F.pad(waveform, (WINDOW_MARGIN, HOP - WINDOW_MARGIN + padded - samples))
        hops = waveform.unflatten(-1, (-1, HOP))
        frames = torch.cat([hops[:, :-1], hops[:, 1:, : WINDOW - HOP]], -1)
        half = WINDOW // 2
        before, centre, after = frames[..., 1:half].flip(-1), frames[..., half : half + 1], frames[..., half + 1 :]
        real = torch.cat([centre, after + before], -1) @ self.cosine
        imaginary = (after - before) @ self.sine
        power = (real.square() + imaginary.square()) @ self.mel
        return 10 * torch.log10(power + FLOOR)

    def normalise(self, decibels: Tensor) -> Tensor:
        """Log-mel in dB [batch, frames, 64] -> what the network takes [batch, 1, frames, 64]."""
        return ((decibels - self.mean) / self.std).unsqueeze(1)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.normalise(self.decibels(waveform))
