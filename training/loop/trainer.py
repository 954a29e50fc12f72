"""One network in training: its objective, compiled and shared among processes, its optimiser, its moving average."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from training.loop.batches import Part
from training.loop.ema import MovingAverage
from training.loop.objective import Objective
from training.loop.settings import Execution, Settings
from training.networks.wels import Network
from training.runtime import distributed
from training.supervision.online import View


class Trainer:
    """``network`` with everything that a step needs, ``view`` being teachers that hear what it hears.

    Attributes
    ----------
    network : with the weights of the last step.
    plain, objective : the loss; as it is written, and as it is compiled and shared among processes.
    """

    def __init__(self, network: Network, settings: Settings, execution: Execution, view: View | None = None) -> None:
        device = execution.device
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = True  # else no two runs are alike, nor a resumed one and its whole
        layout = torch.channels_last if execution.channels_last else torch.contiguous_format
        network = network.to(device=device, memory_format=layout)
        self.network = distributed.synchronised(network) if settings.sync_bn else network
        self.settings = settings
        self.fused = device.type == "cuda"
        self.frozen = self.network.wels.blocks[: settings.freeze] if settings.freeze else []
        for block in self.frozen:
            block.requires_grad_(False)
        learning = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(learning, settings.learning_rate, fused=self.fused)
        self.average = MovingAverage(self.network, settings.ema) if settings.ema else None
        self.plain = Objective(
            self.network, settings.precision, settings.samples, view and view.to(device=device, memory_format=layout)
        )
        self.objective: torch.nn.Module = self.plain
        if execution.compile != "off":
            self.objective.compile(dynamic=False)
        if distributed.ranks() > 1:
            self.objective = _shared(self.objective)

    @property
    def result(self) -> Network:
        """The network to validate and to keep: ``network`` itself, or its moving average."""
        return self.network if self.average is None else self.average.network

    def step(self, parts: Sequence[Part], learning_rate: float) -> Tensor:
        """One step of the optimiser on this rank's parts of a batch; returns their share of the batch's loss."""
        self.network.train()
        for block in self.frozen:
            block.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        total = torch.zeros((), device=parts[0].batch.waveform.device)
        for part in parts:
            torch.manual_seed(part.seed)
            with nullcontext() if part is parts[-1] or distributed.ranks() == 1 else self.objective.no_sync():
                loss = self.objective(part.batch) * part.share
                (loss * distributed.ranks()).backward()  # gradients of the ranks are averaged, not summed
            total += loss.detach()
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network)
        return total

    def said(self, part: Part) -> Tensor:
        """What teachers that hear the view say of a part: targets [clips, classes] in [0, 1]."""
        return self.plain.said(part.batch)

    def level(self) -> None:
        """Make the networks of all ranks alike: their running statistics differ after steps on different clips."""
        for network in dict.fromkeys((self.network, self.result)):  # in one order on all ranks
            distributed.average_statistics(network)

    def is_finite(self) -> bool:
        """Is every weight a number?"""
        return bool(torch.stack([weight.isfinite().all() for weight in self.network.parameters()]).all())

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), **average}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned, on this or another device."""
        self.network.load_state_dict(state["network"])
        for group in state["optimizer"]["param_groups"]:
            group["fused"] = self.fused
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _shared(objective: torch.nn.Module) -> torch.nn.Module:
    """``objective`` with gradients that are averaged over the ranks.

    Statistics of batch normalisation are each rank's own until :func:`training.runtime.distributed.average_statistics`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has another name since torch 2.13
        return DistributedDataParallel(objective, broadcast_buffers=False, gradient_as_bucket_view=True)
