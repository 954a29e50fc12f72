"""What a network is trained to make small: Eq. 1 on a batch of crops, augmented on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.data.augment.augmentation import at_speed, mix, mix_style, spec_augment
from training.data.clips import FULL_SCALE
from training.loop.settings import Precision
from training.networks.wels import Network
from training.supervision.online import View


class Batch(NamedTuple):
    """Input of :class:`Objective`: clips, their targets, and the random draws of their augmentation.

    Attributes
    ----------
    waveform : [clips, samples] int16.
    targets : [clips, classes] in [0, 1], or [clips, segments, classes]. Beside ``known``, the weighted sum of the targets
        that need no online teacher; with online teachers and without ``known``, final and mixed.
    levels, shares, frames, bands, responses, styles, speeds : as in
        :class:`~training.data.augment.augmentation.Draws`.
    known, parts : as in :class:`~training.supervision.online.View`; None without online teachers.
    """

    waveform: Tensor
    targets: Tensor
    levels: Tensor
    shares: Tensor
    frames: Tensor
    bands: Tensor
    responses: Tensor
    styles: Tensor
    speeds: Tensor
    known: Tensor | None = None
    parts: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """The fields that are not None."""
        return [tensor for tensor in self if tensor is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """``function`` applied to each tensor."""
        return Batch(*map(function, self.tensors()))  # only the last fields may be None


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

    def forward(self, batch: Batch) -> Tensor:
        """Mean over clips and classes; with targets of segments, over segments as well."""
        samples = self._augmented(batch)
        with torch.no_grad():
            logmel = mix_style(self.network.frontend(samples, batch.responses), batch.styles)
            logmel = spec_augment(logmel, batch.frames, batch.bands)
        if self.view is None:
            targets = mix(batch.targets, batch.shares)
        else:
            targets = batch.targets if batch.known is None else self._taught(samples, batch)
        with torch.autocast(samples.device.type, torch.bfloat16, enabled=self.bf16):
            scores = self.network.score_logmel(logmel)
        return cross_entropy(scores.segments if targets.ndim == 3 else scores.clip, targets)

    def said(self, batch: Batch) -> Tensor:
        """Mixed targets [clips, classes] in [0, 1], online teachers' scores included."""
        return self._taught(self._augmented(batch), batch)

    def _augmented(self, batch: Batch) -> Tensor:
        """Waveforms [clips, samples] at their levels and speeds, mixed."""
        loud = batch.waveform.float() / FULL_SCALE * batch.levels[:, None]
        if batch.waveform.shape[1] > self.samples:
            loud = at_speed(loud, batch.speeds, self.samples)
        return mix(loud, batch.shares)

    def _taught(self, samples: Tensor, batch: Batch) -> Tensor:
        shares = batch.shares
        with torch.autocast(samples.device.type, torch.bfloat16, enabled=self.bf16):
            targets: Tensor = self.view(samples, mix(batch.targets, shares), mix(batch.known, shares), batch.parts)
        return targets


def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Eq. 1 in float32, averaged over clips and classes; both are [clips, (K,) classes] in [0, 1].

    Probabilities count as at least 1e-7 away from 0 and 1. NaN stays NaN, on every device.
    """
    p = probabilities.float().clamp(1e-7, 1 - 1e-7)
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
