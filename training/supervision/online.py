"""Online distillation: teachers score the student's augmented input; Eqs. 2 and 6 hold for the same crop and mixture.

Algorithm 1 scores each whole clip once. On a clip that the teacher was trained on, that adds little to the label; on a
random crop of it, mixed with another clip at a random level, the teacher says what this input contains (Beyer et al.,
2022, "Knowledge distillation: a good teacher is patient and consistent"). Teachers get the waveform, with reverberation
and noise, but without the augmentation of the student's log-mel: responses, low-pass filters, styles and masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.networks.wels import Network
from training.supervision.equations import Key, Supervision


class OnlineTeacher(NamedTuple):
    """A teacher that scores any waveform.

    Attributes
    ----------
    teacher : waveform [batch, samples] in [-1, 1], part [batch] int64 → probabilities [batch, classes].
    parts : [training clips] int64, the ``part`` of each clip: the cross-fitted regression that was not fitted on it
        (training.supervision.yamnet_teacher).
    """

    teacher: nn.Module
    parts: NDArray[np.int64]


class ClipScorer(nn.Module):
    """A network in eval mode as an online teacher; it ignores ``part``. The front end computes in float32."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
        with torch.autocast(waveform.device.type, enabled=False):
            decibels = self.network.frontend.decibels(waveform)
        clip: Tensor = self.network.score_decibels(decibels).clip
        return clip


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
        self.teachers = nn.ModuleList(teacher for teacher, _ in online.values())

    @torch.no_grad()
    def forward(self, waveform: Tensor, weighted: Tensor, weight: Tensor, parts: Tensor) -> Tensor:
        """Targets [clips, classes] in [0, 1].

        Parameters
        ----------
        waveform : [clips, samples], after mixing.
        weighted, weight : [clips, classes], after mixing: the weighted sum of what is known without online teachers,
            and the sum of those weights (smaller by alpha_labels where a label is unknown).
        parts : [clips, teachers] int64, each teacher's ``part``.
        """
        for number, ((alpha, temperature), teacher) in enumerate(zip(self.weights, self.teachers, strict=True)):
            scores = teacher(waveform, parts[:, number]).float()
            if temperature != 1:
                scores = torch.sigmoid(torch.logit(scores) / temperature)
            weighted = weighted + alpha * scores
            weight = weight + alpha
        return weighted / weight
