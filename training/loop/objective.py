"""The training objective: Eq. 1 on a batch of crops, which is augmented on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.data.audio import FULL_SCALE
from training.data.augment.augmentation import at_speed, mix, mix_style, spec_augment
from training.loop.settings import Precision
from training.networks.wels import Network
from training.supervision.online import OnlineTargets


class Batch(NamedTuple):
    """Input of :class:`Objective`: clips, their targets, and the random draws of their augmentation.

    Attributes
    ----------
    waveform : [clips, samples] int16.
    targets : [clips, classes] in [0, 1], or [clips, segments, classes], before mixing. With ``known``, the weighted sum
        of the targets that need no online teacher. With online teachers but without ``known``, the result of
        :meth:`Objective.online_targets`, after mixing.
    levels, shares, frames, bands, responses, styles, speeds : draws
        (:class:`~training.data.augment.augmentation.Draws`).
    known : [clips, classes], the sum of the weights in ``targets``; None without online teachers.
    parts : [clips, teachers] int64 (:class:`~training.supervision.online.OnlineTeacher`); None without online teachers.
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
        """Apply ``function`` to each tensor."""
        return Batch(*map(function, self.tensors()))  # only the last fields can be None


class Objective(nn.Module):
    """The loss of ``network`` on a batch, from int16 waveforms on. This module is compiled and runs on the device.

    Parameters
    ----------
    precision : of the network and of online teachers; the front ends and the loss are float32.
    samples : samples of a crop as the network gets it; waveforms may be longer, for crops that are sped up.
    online : online teachers, if there are any.
    """

    def __init__(
        self, network: Network, precision: Precision, samples: int, online: OnlineTargets | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.samples = samples
        self.online = online
        self.bf16 = precision == "bf16"

    def forward(self, batch: Batch) -> Tensor:
        """Eq. 1, averaged over clips and classes, and over segments if the targets are of segments."""
        waveform = self._augmented(batch)
        with torch.no_grad():
            logmel = mix_style(self.network.frontend(waveform, batch.responses), batch.styles)
            logmel = spec_augment(logmel, batch.frames, batch.bands)
        if self.online is None:
            targets = mix(batch.targets, batch.shares)
        else:
            targets = batch.targets if batch.known is None else self._scored_online(waveform, batch)
        with torch.autocast(waveform.device.type, torch.bfloat16, enabled=self.bf16):
            scores = self.network.score_logmel(logmel)
        return cross_entropy(scores.segments if targets.ndim == 3 else scores.clip, targets)

    def online_targets(self, batch: Batch) -> Tensor:
        """Targets [clips, classes] in [0, 1] after mixing, with the scores of online teachers."""
        return self._scored_online(self._augmented(batch), batch)

    def _augmented(self, batch: Batch) -> Tensor:
        """Waveforms [clips, samples] in float32 with levels, speeds and mixup applied."""
        waveform = batch.waveform.float() / FULL_SCALE * batch.levels[:, None]
        if batch.waveform.shape[1] > self.samples:
            waveform = at_speed(waveform, batch.speeds, self.samples)
        return mix(waveform, batch.shares)

    def _scored_online(self, waveform: Tensor, batch: Batch) -> Tensor:
        assert self.online is not None
        assert batch.known is not None
        with torch.autocast(waveform.device.type, torch.bfloat16, enabled=self.bf16):
            targets: Tensor = self.online(
                waveform, mix(batch.targets, batch.shares), mix(batch.known, batch.shares), batch.parts
            )
        return targets


def cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """Eq. 1 in float32, averaged over clips and classes; both are [clips, (segments,) classes] in [0, 1].

    Probabilities are clamped to [1e-7, 1 - 1e-7]. NaN gives NaN, on every device.
    """
    p = probabilities.float().clamp(1e-7, 1 - 1e-7)
    return -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
