"""Exponential moving average (EMA) of a network's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch

from training.networks.wels import Network


class MovingAverage:
    """EMA of the weights and of batch normalisation's running statistics.

    The decay after step n is ``min(decay, (1 + n) / (10 + n))``, so that the initial weights are soon forgotten.

    Attributes
    ----------
    network : the averaged network, in eval mode.
    steps : number of updates.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Update the average with ``network`` after an optimiser step."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [new for _, new in floats], weight)
        for average, new in pairs:
            if not average.is_floating_point():  # batch normalisation's count of batches
                average.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.steps = state["steps"]
