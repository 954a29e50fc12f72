"""Augmentation: random crop and roll, or several clips at once; channel, level, mixup; response, style, SpecAugment.

What chance decides of a batch is drawn at once, in numpy, as one entry a clip: it depends on the generator
alone, neither on the device nor on how many processes share the batch. Applying it has no chance left.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASKS = 2  # SpecAugment masks of each kind, a clip
MOST = 4  # clips heard at once
NODES = 6  # of a response curve, at most
NARROWEST = 24  # mel bands that are left of a band-limited clip, at least: those below 1.2 kHz
CUT = -100.0  # dB, of what a band limit takes away
SNR = (0.0, 30.0)  # dB, of added noise
T60 = (0.1, 1.0)  # seconds in which the sound of a room falls by 60 dB
STYLE = 0.6  # parameter of the Beta distribution that weights of styles are drawn from


@dataclass(frozen=True)
class Draws:
    """What chance decided of the clips of a batch; a slice of it is that of a part of the clips.

    Attributes
    ----------
    places : [clips] float64 in [0, 1): from where the crop is taken.
    levels : [clips] float32, factor on the waveform.
    shares : [clips] float32 in [0.5, 1], weight of the clip in its mixture with its neighbour; 1: not mixed.
    frames, bands : [clips, 2, 2] int64, first entry and end of the masks on either axis of the log-mel.
    heard : [clips] int64, its place in the batch; with overlay [clips, n], and of those heard with it, -1: none.
    seeds : [clips] int64, for where and how loud they are heard, and for rooms and noise.
    responses : [clips, bands] float32, dB that a mel band is heard louder.
    speeds : [clips] float32, factor on speed and pitch.
    t60s : [clips] float32, seconds of the reverberation of a room (training.data.augment.channel); 0: none.
    snrs : [clips] float32, dB by which the crop is louder than the noise that is added to it; inf: none is.
    styles : [clips] float32 in [0.5, 1], weight of the clip's own style beside its neighbour's (:func:`mix_style`).
    """

    places: NDArray[np.float64]
    levels: NDArray[np.float32]
    shares: NDArray[np.float32]
    frames: NDArray[np.int64]
    bands: NDArray[np.int64]
    heard: NDArray[np.int64]
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
    """What is done to a training clip; zeros switch a step off.

    Attributes
    ----------
    gain : the level changes by a uniform draw from [-gain, gain], in dB.
    mixup : parameter of the Beta distribution that mixing weights are drawn from.
    mixed : share of the batches that are mixed.
    time_mask, band_mask : longest SpecAugment masks, in frames and in mel bands; two of each a clip.
    overlay : share of the clips that are heard with one to three others of the batch (soundscapes.overlay).
    response : microphone and room: each mel band is louder or softer by up to this, in dB, along a random curve.
    narrow : share of the clips that are heard without what lies above some frequency, from 1.2 kHz on.
    speed : clips are played up to 1 + this as fast, or as slow.
    reverb : share of the clips that are heard in a room.
    noise : share of the clips that noise is added to, of any colour from white to brown, at 0 to 30 dB.
    style : share of the batches whose clips take on some of the style of another (:func:`mix_style`).
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
        """Draws for a batch of clips whose crops have log-mels of ``frames`` by ``bands``."""
        shares = np.ones(clips)
        if self.mixup and random.random() < self.mixed:
            shares = random.beta(self.mixup, self.mixup, clips)
        return Draws(
            random.random(clips),
            (10 ** (random.uniform(-self.gain, self.gain, clips) / 20)).astype(np.float32),
            np.maximum(shares, 1 - shares).astype(np.float32),
            _masks(clips, frames, self.time_mask, random),
            _masks(clips, bands, self.band_mask, random),
            *self._heard(clips, random),
            self._responses(clips, bands, random),
            self._speeds(clips, random),
            _some(clips, self.reverb, T60, 0.0, random),
            _some(clips, self.noise, SNR, np.inf, random),
            self._styles(clips, random),
        )

    def _heard(self, clips: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        alone = np.arange(clips)
        if not self.overlay:
            seeded = self.noise or self.reverb
            return alone, random.integers(0, 1 << 62, clips) if seeded else np.zeros(clips, np.int64)
        others = np.where(random.random(clips) < self.overlay, random.integers(1, MOST, clips), 0)
        heard = (alone[:, None] + random.integers(1, max(2, clips), (clips, MOST - 1))) % clips
        heard[np.arange(MOST - 1) >= others[:, None]] = -1
        return np.column_stack([alone, heard]), random.integers(0, 1 << 62, clips)

    def _responses(self, clips: int, bands: int, random: np.random.Generator) -> NDArray[np.float32]:
        responses = np.zeros((clips, bands), np.float32)
        if self.response:
            for curve in responses:
                nodes = np.sort(random.uniform(0, bands - 1, random.integers(2, NODES + 1)))
                curve[:] = np.interp(np.arange(bands), nodes, random.uniform(-self.response, self.response, len(nodes)))
        if self.narrow:
            left = np.where(random.random(clips) < self.narrow, random.integers(NARROWEST, bands, clips), bands)
            responses[np.arange(bands) >= left[:, None]] = CUT
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


def _some(
    clips: int, share: float, bounds: tuple[float, float], none: float, random: np.random.Generator
) -> NDArray[np.float32]:
    """A number between ``bounds`` for a share of the clips, ``none`` for the others."""
    if not share:
        return np.full(clips, none, np.float32)
    values = random.uniform(*bounds, clips)
    return np.where(random.random(clips) < share, values, none).astype(np.float32)


def _masks(clips: int, size: int, longest: int, random: np.random.Generator) -> NDArray[np.int64]:
    length = random.integers(0, min(longest, size) + 1, (clips, MASKS))
    start = random.integers(0, size - length + 1)
    return np.stack([start, start + length], -1)


def without_padding(clip: NDArray[np.int16]) -> NDArray[np.int16]:
    """``clip`` without the exact zeros before and after it: padding carries none of the sound it is labelled with."""
    if len(clip) and clip[0] and clip[-1]:
        return clip
    sounding = np.flatnonzero(clip)
    return clip[sounding[0] : sounding[-1] + 1] if len(sounding) else clip


def crop(clip: NDArray[np.int16], samples: int, place: float) -> NDArray[np.int16]:
    """``samples`` consecutive samples from ``place`` in [0, 1); a shorter clip is repeated from there (a roll)."""
    if len(clip) > samples:
        start = int(place * (len(clip) - samples + 1))
        return clip[start : start + samples]
    return np.resize(np.roll(clip, int(place * len(clip))), samples)


def at_speed(waveforms: Tensor, speeds: Tensor, samples: int) -> Tensor:
    """Waveforms [clips, more], each played at its speed, which changes its pitch alike: [clips, samples].

    A clip begins where it did and is interpolated between its samples; it takes ``samples`` times its speed of them.
    """
    place = torch.arange(samples, device=waveforms.device) * speeds[:, None]
    before = place.long().clamp(max=waveforms.shape[1] - 2)
    return torch.lerp(waveforms.gather(1, before), waveforms.gather(1, before + 1), place - before)


def mix(batch: Tensor, shares: Tensor) -> Tensor:
    """Each entry of ``batch`` [clips, ...] mixed with its neighbour: 0 with 1, 2 with 3; an odd last one stays.

    Neighbours in a shuffled batch are strangers, and a batch cut between pairs mixes as the whole does.
    """
    clip = torch.arange(len(batch), device=batch.device)
    neighbour = batch[(clip ^ 1).clamp(max=len(batch) - 1)]
    shares = shares.view(-1, *[1] * (batch.ndim - 1))
    return shares * batch + (1 - shares) * neighbour


def mix_style(logmel: Tensor, shares: Tensor) -> Tensor:
    """Log-mel [clips, 1, frames, bands] with each band's mean and deviation over time mixed with the neighbour's.

    Freq-MixStyle (Kim et al., 2022): the level and the dynamics of bands tell of the recording more than of the sound.
    """
    deviation, mean = torch.std_mean(logmel, 2, correction=0, keepdim=True)
    factor = mix(deviation, shares) / deviation.clamp(min=1e-3)
    return torch.where(deviation > 1e-3, logmel * factor + (mix(mean, shares) - mean * factor), logmel)


def spec_augment(logmel: Tensor, frames: Tensor, bands: Tensor) -> Tensor:
    """Normalised log-mel [clips, 1, frames, bands] with the masked stretches of either axis at the mean, 0."""
    return logmel * (_kept(frames, logmel.shape[2])[:, None, :, None] & _kept(bands, logmel.shape[3])[:, None, None])


def _kept(masks: Tensor, size: int) -> Tensor:
    """[clips, size], False inside a mask."""
    position = torch.arange(size, device=masks.device)
    first, end = masks[..., :1], masks[..., 1:]
    return ~((position >= first) & (position < end)).any(1)
