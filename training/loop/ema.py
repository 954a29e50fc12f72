"""The moving average of a network in training, which often scores better than any one step of it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average of the weights, and of the statistics of batch normalisation with them.

    The decay grows with the steps, (1 + n) / (10 + n) up to ``decay``: the average forgets how the network began.

    Attributes
    ----------
    network : the averaged network, in eval mode.
    steps : how many it is of.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in ``network`` after a step."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([own for own, _ in numbers], [new for _, new in numbers], weight)
        for own, new in pairs:
            if not own.is_floating_point():  # how many batches batch normalisation has seen
                own.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.steps = state["steps"]
