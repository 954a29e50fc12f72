"""The training objective: Eq. 1 on a batch of crops, which is augmented on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.audio import FULL_SCALE
from training.data.augment.augmentation import mix, mix_style, spec_augment
from training.data.augment.resampling import at_speed
from training.loop.settings import Precision
from training.networks.wels import Network, Segments
from training.supervision.online import SILENT, OnlineTargets


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
        return Batch._make(None if tensor is None else function(tensor) for tensor in self)


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
            decibels = self.network.frontend.decibels(waveform, batch.responses)
            logmel = mix_style(self.network.frontend.normalise(decibels), batch.styles)
            logmel = spec_augment(logmel, batch.frames, batch.bands)
            audible = self.network.audible(decibels)
        if self.online is None:
            targets = mix_known(batch.targets, batch.shares)
        else:
            targets = batch.targets if batch.known is None else self._scored_online(waveform, batch)
        with torch.autocast(waveform.device.type, torch.bfloat16, enabled=self.bf16):
            segments = self.network.segments(logmel, audible)
        return cross_entropy(segments, targets)

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
        assert batch.parts is not None
        silent = mix((batch.parts == SILENT).float(), batch.shares) > 0  # for one clip of the mixture
        with torch.autocast(waveform.device.type, torch.bfloat16, enabled=self.bf16):
            targets: Tensor = self.online(
                waveform,
                mix(batch.targets, batch.shares),
                mix(batch.known, batch.shares),
                batch.parts.masked_fill(silent, SILENT),
            )
        return targets


def mix_known(targets: Tensor, shares: Tensor) -> Tensor:
    """Mix targets; NaN, unknown, where any share of a mixture is unknown."""
    unknown = mix(targets.isnan().to(targets.dtype), shares) > 0
    return mix(targets.nan_to_num(), shares).masked_fill(unknown, torch.nan)


def cross_entropy(segments: Segments, targets: Tensor) -> Tensor:
    """Eq. 1 in float32, averaged over clips and classes, and over segments if the targets are of segments.

    ``targets`` are [clips, classes] or [clips, segments, classes], in [0, 1]. The clip's score is that of
    ``training.networks.wels.pool``, but its logarithm is computed from the segments' logits, so that a class with a
    score near 0 still has a gradient. Silent segments add 0, and so do clips in which all segments are silent: no
    weight changes their scores. Targets that are NaN, unknown, add 0: every known one has the same weight.
    """
    present, absent = F.logsigmoid(segments.logits), F.logsigmoid(-segments.logits)
    heard = segments.audible
    if targets.ndim == 2:
        clip_heard = heard.amax(1, keepdim=True)
        weights = segments.weights.log().masked_fill(heard < clip_heard, -torch.inf)
        total = weights.logsumexp(1)
        present, absent = ((each + weights).logsumexp(1) - total for each in (present, absent))
        heard = clip_heard.squeeze(1)
    known = ~targets.isnan()
    targets = torch.where(known, targets, 0)
    return -(heard * known * (targets * present + (1 - targets) * absent)).mean()
