"""Augmentation for small sets: random crop and roll, gain, mixup; SpecAugment on the log-mel.

Every draw comes from the generator that is passed in, so that a seed fixes an epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training clip; zeros switch a step off.

    Attributes
    ----------
    gain : the level changes by a uniform draw from [-gain, gain], in dB.
    mixup : parameter of the Beta distribution that mixing weights are drawn from.
    mixed : share of the batches that are mixed.
    time_mask, band_mask : longest SpecAugment masks, in frames and in mel bands; two of each a clip.
    """

    gain: float = 6.0
    mixup: float = 0.4
    mixed: float = 0.5
    time_mask: int = 24
    band_mask: int = 8


def without_padding(clip: NDArray[np.int16]) -> NDArray[np.int16]:
    """``clip`` without the exact zeros before and after it: padding carries none of the sound it is labelled with."""
    sounding = np.flatnonzero(clip)
    return clip[sounding[0] : sounding[-1] + 1] if len(sounding) else clip


def crop(clip: NDArray[np.int16], samples: int, random: np.random.Generator) -> NDArray[np.int16]:
    """``samples`` consecutive samples from a random place; a shorter clip is repeated from a random place (a roll)."""
    if len(clip) > samples:
        start = int(random.integers(len(clip) - samples + 1))
        return clip[start : start + samples]
    return np.resize(np.roll(clip, int(random.integers(max(1, len(clip))))), samples)


def gain(waveform: Tensor, decibels: float, random: np.random.Generator) -> Tensor:
    """Waveform [batch, samples], each clip at a level of its own."""
    factors = 10 ** (random.uniform(-decibels, decibels, (len(waveform), 1)) / 20)
    return waveform * torch.from_numpy(factors).to(waveform)


def mixup(waveform: Tensor, targets: Tensor, beta: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Each clip of the batch mixed with another: waveforms and targets (labels' and teachers') with the same weight."""
    weight = torch.from_numpy(random.beta(beta, beta, (len(waveform), 1))).to(waveform)
    weight = torch.maximum(weight, 1 - weight)
    other = torch.from_numpy(random.permutation(len(waveform))).to(waveform.device)
    return (
        weight * waveform + (1 - weight) * waveform[other],
        weight * targets + (1 - weight) * targets[other],
    )


def spec_augment(logmel: Tensor, time_mask: int, band_mask: int, random: np.random.Generator) -> Tensor:
    """Normalised log-mel [batch, 1, frames, bands] with two stretches of frames and of bands at the mean, 0."""
    keep = torch.ones_like(logmel)
    for axis, longest in ((2, time_mask), (3, band_mask)):
        size = logmel.shape[axis]
        position = torch.arange(size).view([-1 if a == axis else 1 for a in (1, 2, 3)])
        for _ in range(2):
            length = random.integers(0, min(longest, size) + 1, len(logmel))
            start = random.integers(0, size - length + 1)
            first, last = (torch.from_numpy(edge).view(-1, 1, 1, 1) for edge in (start, start + length))
            inside = (position >= first) & (position < last)
            keep = keep.masked_fill(inside.to(logmel.device), 0)
    return logmel * keep
