"""What a network is trained to make small: Eq. 1 on a batch of crops, augmented on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.data.augment.augmentation import at_speed, mix, mix_style, spec_augment
from training.data.clips import FULL_SCALE
from training.loop.settings import Precision
from training.networks.wels import Network
from training.supervision.online import View


class Objective(nn.Module):
    """The loss of ``network`` on a batch, from waveforms as they lie on disk: what is compiled, and runs on a device.

    Parameters
    ----------
    precision : of WELS-Net and of teachers' networks alone; the front ends and the loss are float32.
    samples : of a waveform as the network hears it; there may be more, of which a fast one takes all.
    view : teachers that hear what the network hears.
    """

    def __init__(self, network: Network, precision: Precision, samples: int, view: View | None = None) -> None:
        super().__init__()
        self.network = network
        self.samples = samples
        self.view = view
        self.bf16 = precision == "bf16"

    def forward(
        self,
        waveform: Tensor,
        targets: Tensor,
        levels: Tensor,
        shares: Tensor,
        frames: Tensor,
        bands: Tensor,
        responses: Tensor,
        styles: Tensor,
        speeds: Tensor,
        known: Tensor | None = None,
        told: Tensor | None = None,
    ) -> Tensor:
        """Mean over clips and classes.

        ``waveform`` int16 [clips, samples], ``targets`` [clips, classes] in [0, 1], or [clips, K, classes] of segments,
        which the loss then is of; the last two as in
        :class:`~training.supervision.online.View`, the rest as in :class:`~training.data.augment.augmentation.Draws`. With a view and without
        these two, ``targets`` are what :meth:`said` returned.
        """
        samples = self._heard(waveform, levels, shares, speeds)
        with torch.no_grad():
            logmel = mix_style(self.network.frontend(samples, responses), styles)
            logmel = spec_augment(logmel, frames, bands)
        if self.view is None:
            targets = mix(targets, shares)
        elif known is not None:
            targets = self._said(samples, targets, shares, known, told)
        with torch.autocast(waveform.device.type, torch.bfloat16, enabled=self.bf16):
            scores = self.network.score_logmel(logmel)
        return cross_entropy(scores.segments if targets.ndim == 3 else scores.clip, targets)

    def said(self, tensors: Sequence[Tensor]) -> Tensor:
        """Targets [clips, classes] in [0, 1] of the clips as they are heard, from the arguments of ``forward``."""
        waveform, targets, levels, shares, *_, speeds, known, told = tensors
        return self._said(self._heard(waveform, levels, shares, speeds), targets, shares, known, told)

    def _heard(self, waveform: Tensor, levels: Tensor, shares: Tensor, speeds: Tensor) -> Tensor:
        loud = waveform.float() / FULL_SCALE * levels[:, None]
        if waveform.shape[1] > self.samples:
            loud = at_speed(loud, speeds, self.samples)
        return mix(loud, shares)

    def _said(self, samples: Tensor, targets: Tensor, shares: Tensor, known: Tensor, told: Tensor | None) -> Tensor:
        with torch.autocast(samples.device.type, torch.bfloat16, enabled=self.bf16):
            said: Tensor = self.view(samples, mix(targets, shares), mix(known, shares), told)
        return said


def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Eq. 1 in float32, averaged over clips and classes; both are [clips, (K,) classes] in [0, 1].

    Probabilities count as at least 1e-7 away from 0 and 1. NaN stays NaN, on every device.
    """
    p = probabilities.float().clamp(1e-7, 1 - 1e-7)
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
