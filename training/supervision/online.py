"""Online distillation: teachers score the student's augmented input; Eqs. 2 and 6 hold for the same crop and mixture.

Algorithm 1 scores each whole clip once. On a clip that the teacher was trained on, that adds little to the label; on a
random crop of it, mixed with another clip at a random level, the teacher says what this input contains (Beyer et al.,
2022, "Knowledge distillation: a good teacher is patient and consistent"). Teachers get the waveform, with reverberation
and noise, but without the augmentation of the student's log-mel: responses, low-pass filters, styles and masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.networks.wels import Network
from training.supervision.equations import Key, Supervision

NOTHING = 1e-6  # below any weight of a supervision, above the rounding of their sums
SILENT = -1  # the part of a clip that a teacher does not know enough to teach


class OnlineTeacher(NamedTuple):
    """A teacher that scores any waveform.

    Attributes
    ----------
    teacher : waveform [batch, samples] in [-1, 1], part [batch] int64 → probabilities [batch, classes].
    parts : [training clips] int64, the ``part`` of each clip: the cross-fitted regression that was not fitted on it
        (training.supervision.yamnet_teacher); ``SILENT`` where the teacher gives no target.
    columns : the classes that it scores, of those of the manifest; None: all.
    """

    teacher: nn.Module
    parts: NDArray[np.int64]
    columns: NDArray[np.int64] | None = None


class ClipScorer(nn.Module):
    """A network in eval mode as an online teacher; it ignores ``part``. The front end computes in float32.

    ``outputs``: the classes of the network that it scores; None: all.
    """

    def __init__(self, network: Network, outputs: Sequence[int] | None = None) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.outputs = None if outputs is None else list(outputs)

    def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
        with torch.autocast(waveform.device.type, enabled=False):
            decibels = self.network.frontend.decibels(waveform)
        clip: Tensor = self.network.score_decibels(decibels).clip
        return clip if self.outputs is None else clip[:, self.outputs]


def softened(scores: Tensor, temperature: float) -> Tensor:
    """Scores in float32 with their logits divided by ``temperature``."""
    return scores.float() if temperature == 1 else torch.sigmoid(torch.logit(scores.float()) / temperature)


class OnlineTargets(nn.Module):
    """Targets of a batch from labels, stored teacher scores, and the scores of online teachers."""

    def __init__(
        self,
        supervision: Supervision,
        online: Mapping[Key, OnlineTeacher],
        temperatures: Mapping[Key, float] | None = None,
    ) -> None:
        super().__init__()
        self.weights = [(supervision[key], (temperatures or {}).get(key, 1.0)) for key in online]
        self.columns = [None if one.columns is None else torch.from_numpy(one.columns) for one in online.values()]
        self.teachers = nn.ModuleList(one.teacher for one in online.values())

    @torch.no_grad()
    def forward(self, waveform: Tensor, weighted: Tensor, weight: Tensor, parts: Tensor) -> Tensor:
        """Targets [clips, classes] in [0, 1]; NaN where nothing is known, infinity where a teacher failed.

        Parameters
        ----------
        waveform : [clips, samples], after mixing.
        weighted, weight : [clips, classes], after mixing: the weighted sum of what is known without online teachers,
            and the sum of those weights (smaller by alpha_labels where a label is unknown).
        parts : [clips, teachers] int64, each teacher's ``part``, or ``SILENT``.
        """
        weighted, weight = weighted.clone(), weight.clone()
        for number, ((alpha, temperature), teacher) in enumerate(zip(self.weights, self.teachers, strict=True)):
            part, columns = parts[:, number], self.columns[number]
            if columns is None:
                weighted += alpha * softened(teacher(waveform, part), temperature)
                weight += alpha
            elif len(rows := (part != SILENT).nonzero()):
                taught = rows, columns.to(rows.device)
                clips = rows.flatten()
                weighted[taught] += alpha * softened(teacher(waveform[clips], part[clips]), temperature)
                weight[taught] += alpha
        targets = (weighted / weight).nan_to_num(torch.inf)
        return targets.masked_fill(weight < NOTHING, torch.nan)
