"""Teachers that hear what the student hears, crop and mixture, each time anew: Eq. 2 and Eq. 6 on the same view.

Algorithm 1 asks a teacher once, of the whole clip. Of a clip that the teacher was trained on it then says little more
than the label; of a crop of it, mixed with another and as loud as chance would have it, it says what is to be heard
(Beyer et al., 2022: a good teacher is patient and consistent). It hears the waveform, with the rooms and the noise that
were added to it, but not what is done to the student's log-mel: responses, narrow channels, styles and masks.
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


class Asked(NamedTuple):
    """A teacher that can be asked of any sound.

    Attributes
    ----------
    teacher : waveform [batch, samples] in [-1, 1], part [batch] → probabilities [batch, classes].
    parts : [training clips] int64, what ``part`` is of each clip (training.supervision.yamnet_teacher).
    """

    teacher: nn.Module
    parts: NDArray[np.int64]


class Generation(nn.Module):
    """An earlier network of the cascade as such a teacher, in eval mode; ``part`` means nothing to it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, waveform: Tensor, part: Tensor) -> Tensor:
        with torch.autocast(waveform.device.type, enabled=False):
            decibels = self.network.frontend.decibels(waveform)
        scored: Tensor = self.network.score_decibels(decibels).clip
        return scored


class View(nn.Module):
    """Targets of a batch: what was known of its clips before, and what ``asked`` teachers say of what they hear."""

    def __init__(self, supervision: Supervision, asked: Mapping[Key, Asked]) -> None:
        super().__init__()
        self.weights = [supervision[key] for key in asked]
        self.teachers = nn.ModuleList(one.teacher for one in asked.values())

    @torch.no_grad()
    def forward(self, waveform: Tensor, said: Tensor, known: Tensor, told: Tensor) -> Tensor:
        """Targets [clips, classes] in [0, 1].

        ``waveform`` [clips, samples], mixed; ``said`` and ``known`` [clips, classes], mixed as well: what is known
        without these teachers, times its weights, and the sum of those weights (1 - alpha_labels less where a label is
        not known); ``told`` [clips, teachers]: each teacher's ``part``. Where a clip whose label is known is mixed with
        one whose label is not, the weights of what is known are mixed as well.
        """
        for number, (weight, teacher) in enumerate(zip(self.weights, self.teachers, strict=True)):
            said = said + weight * teacher(waveform, told[:, number]).float()
            known = known + weight
        return said / known
