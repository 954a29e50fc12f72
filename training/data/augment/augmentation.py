"""Augmentation of training batches: what is drawn for each clip, and its application to tensors.

All random values of a batch are drawn at once in numpy, one entry per clip (:class:`Draws`). They depend only on the
generator, not on the device or on the number of processes that share the batch. Applying them is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASKS = 2  # SpecAugment masks on either axis
MOST_CLIPS = 4  # in one crop, with overlay
MOST_NODES = 6  # of a response curve
LEAST_BANDS = 24  # mel bands that remain of a band-limited clip: those below 1.2 kHz
CUT = -100.0  # dB, gain of the bands that a band limit removes
SNR = (0.0, 30.0)  # dB, range of the signal-to-noise ratio of added noise
T60 = (0.1, 1.0)  # s, range of the reverberation time
STYLE = 0.6  # parameter of the Beta distribution of the weights of mix_style


@dataclass(frozen=True)
class Draws:
    """The random values of a batch. A slice holds the values of a part of the clips.

    Attributes
    ----------
    places : [clips] float64 in [0, 1), relative position of the crop in the clip.
    levels : [clips] float32, factor on the waveform.
    shares : [clips] float32 in [0.5, 1], mixup weight of the clip, the rest being its neighbour's; 1: not mixed.
    frames, bands : [clips, 2, 2] int64, start and end of the SpecAugment masks on either axis of the log-mel.
    sources : [clips] int64, the clip itself; with overlay [clips, n], the clips in each crop, -1 where there are fewer.
    seeds : [clips] int64, seeds for the positions and levels of overlaid clips, for rooms and for noise.
    responses : [clips, bands] float32, gain of each mel band in dB.
    speeds : [clips] float32, factor on speed and pitch.
    t60s : [clips] float32, reverberation time in s (training.data.augment.channel); 0: no reverberation.
    snrs : [clips] float32, signal-to-noise ratio of added noise in dB; inf: no noise.
    styles : [clips] float32 in [0.5, 1], weight of the clip's own style in :func:`mix_style`; 1: unchanged.
    """

    places: NDArray[np.float64]
    levels: NDArray[np.float32]
    shares: NDArray[np.float32]
    frames: NDArray[np.int64]
    bands: NDArray[np.int64]
    sources: NDArray[np.int64]
    seeds: NDArray[np.int64]
    responses: NDArray[np.float32]
    speeds: NDArray[np.float32]
    t60s: NDArray[np.float32]
    snrs: NDArray[np.float32]
    styles: NDArray[np.float32]

    def __getitem__(self, part: slice) -> Draws:
        return Draws(*(getattr(self, column.name)[part] for column in fields(self)))


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the augmentations; 0 turns one off.

    Attributes
    ----------
    gain : level changes are uniform in [-gain, gain], in dB.
    mixup : parameter of the Beta distribution of mixup weights.
    mixed : share of the batches with mixup.
    time_mask, band_mask : longest SpecAugment masks, in frames and in mel bands; two of each per clip.
    overlay : share of the clips that are overlaid with one to three others of the batch (soundscapes.overlay).
    response : frequency response of microphone and room: a random curve over mel bands within +-response, in dB.
    narrow : share of the clips that are low-passed, at a frequency of 1.2 kHz or more.
    speed : speed factors lie between 1 / (1 + speed) and 1 + speed.
    reverb : share of the clips with the reverberation of a room.
    noise : share of the clips with added noise, white to brown, at 0 to 30 dB.
    style : share of the batches with :func:`mix_style`.
    """

    gain: float = 6.0
    mixup: float = 0.4
    mixed: float = 0.5
    time_mask: int = 24
    band_mask: int = 8
    overlay: float = 0.0
    response: float = 0.0
    narrow: float = 0.0
    speed: float = 0.0
    reverb: float = 0.0
    noise: float = 0.0
    style: float = 0.0

    def draw(self, clips: int, frames: int, bands: int, random: np.random.Generator) -> Draws:
        """Draw the values of a batch of ``clips`` whose log-mels have ``frames`` by ``bands`` entries."""
        shares = np.ones(clips)
        if self.mixup and random.random() < self.mixed:
            shares = random.beta(self.mixup, self.mixup, clips)
        return Draws(
            random.random(clips),
            (10 ** (random.uniform(-self.gain, self.gain, clips) / 20)).astype(np.float32),
            np.maximum(shares, 1 - shares).astype(np.float32),
            _masks(clips, frames, self.time_mask, random),
            _masks(clips, bands, self.band_mask, random),
            *self._overlays(clips, random),
            self._responses(clips, bands, random),
            self._speeds(clips, random),
            _drawn_for_share(clips, self.reverb, T60, 0.0, random),
            _drawn_for_share(clips, self.noise, SNR, np.inf, random),
            self._styles(clips, random),
        )

    def _overlays(self, clips: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``sources`` and ``seeds``."""
        own = np.arange(clips)
        if not self.overlay:
            seeded = self.noise or self.reverb
            return own, random.integers(0, 1 << 62, clips) if seeded else np.zeros(clips, np.int64)
        count = np.where(random.random(clips) < self.overlay, random.integers(1, MOST_CLIPS, clips), 0)
        others = (own[:, None] + random.integers(1, max(2, clips), (clips, MOST_CLIPS - 1))) % clips
        others[np.arange(MOST_CLIPS - 1) >= count[:, None]] = -1
        return np.column_stack([own, others]), random.integers(0, 1 << 62, clips)

    def _responses(self, clips: int, bands: int, random: np.random.Generator) -> NDArray[np.float32]:
        responses = np.zeros((clips, bands), np.float32)
        if self.response:
            for curve in responses:
                nodes = np.sort(random.uniform(0, bands - 1, random.integers(2, MOST_NODES + 1)))
                curve[:] = np.interp(np.arange(bands), nodes, random.uniform(-self.response, self.response, len(nodes)))
        if self.narrow:
            remaining = np.where(random.random(clips) < self.narrow, random.integers(LEAST_BANDS, bands, clips), bands)
            responses[np.arange(bands) >= remaining[:, None]] = CUT
        return responses

    def _speeds(self, clips: int, random: np.random.Generator) -> NDArray[np.float32]:
        if not self.speed:
            return np.ones(clips, np.float32)
        return ((1 + self.speed) ** random.uniform(-1, 1, clips)).astype(np.float32)

    def _styles(self, clips: int, random: np.random.Generator) -> NDArray[np.float32]:
        if not (self.style and random.random() < self.style):
            return np.ones(clips, np.float32)
        weights = random.beta(STYLE, STYLE, clips)
        return np.maximum(weights, 1 - weights).astype(np.float32)


def _drawn_for_share(
    clips: int, share: float, bounds: tuple[float, float], none: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """[clips] uniform draws between ``bounds`` for a share of the clips, ``none`` for the others."""
    if not share:
        return np.full(clips, none, np.float32)
    values = random.uniform(*bounds, clips)
    return np.where(random.random(clips) < share, values, none).astype(np.float32)


def _masks(clips: int, size: int, longest: int, random: np.random.Generator) -> NDArray[np.int64]:
    """[clips, masks, 2] start and end of masks of up to ``longest`` entries."""
    length = random.integers(0, min(longest, size) + 1, (clips, MASKS))
    start = random.integers(0, size - length + 1)
    return np.stack([start, start + length], -1)


def mix(batch: Tensor, shares: Tensor) -> Tensor:
    """Mixup of each entry of ``batch`` [clips, ...] with its neighbour: 0 with 1, 2 with 3; an odd last one stays.

    ``shares`` [clips] are the weights of the entries themselves. Neighbours in a shuffled batch are unrelated, and a
    batch that is cut between pairs gives the same result as the whole batch.
    """
    clip = torch.arange(len(batch), device=batch.device)
    neighbour = batch[(clip ^ 1).clamp(max=len(batch) - 1)]
    shares = shares.view(-1, *[1] * (batch.ndim - 1))
    return shares * batch + (1 - shares) * neighbour


def mix_style(logmel: Tensor, shares: Tensor) -> Tensor:
    """Mix each mel band's mean and standard deviation over time with those of the neighbour (Freq-MixStyle).

    These statistics characterise the recording device more than the sound (Kim et al. 2022).

    Parameters
    ----------
    logmel : [clips, 1, frames, bands].
    shares : [clips] weight of the clip's own statistics.
    """
    deviation, mean = torch.std_mean(logmel, 2, correction=0, keepdim=True)
    factor = mix(deviation, shares) / deviation.clamp(min=1e-3)
    return torch.where(deviation > 1e-3, logmel * factor + (mix(mean, shares) - mean * factor), logmel)


def spec_augment(logmel: Tensor, frames: Tensor, bands: Tensor) -> Tensor:
    """Set the masked frames and bands of a normalised log-mel [clips, 1, frames, bands] to the mean, 0."""
    return logmel * (_kept(frames, logmel.shape[2])[:, None, :, None] & _kept(bands, logmel.shape[3])[:, None, None])


def _kept(masks: Tensor, size: int) -> Tensor:
    """[clips, size] False inside a mask."""
    position = torch.arange(size, device=masks.device)
    first, end = masks[..., :1], masks[..., 1:]
    return ~((position >= first) & (position < end)).any(1)
