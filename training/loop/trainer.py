"""Optimiser steps of one network: gradient accumulation, several processes, moving average, state to save."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.loop.batches import Part
from training.loop.ema import MovingAverage
from training.loop.objective import Objective
from training.loop.settings import Execution, Settings
from training.networks.wels import Network
from training.runtime import distributed
from training.supervision.online import OnlineTargets


class Trainer:
    """Trains ``network`` step by step, with ``online`` teachers if there are any.

    Attributes
    ----------
    network : the network with the weights of the last step.
    objective : the loss; compiled in place with ``--set compile=on``.
    """

    def __init__(
        self, network: Network, settings: Settings, execution: Execution, online: OnlineTargets | None = None
    ) -> None:
        device = execution.device
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = execution.deterministic
            torch.backends.cudnn.allow_tf32 = settings.precision == "tf32"  # torch's default is True
        layout = torch.channels_last if execution.channels_last else torch.contiguous_format
        network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.network = distributed.with_sync_batch_norm(network, device) if settings.sync_bn else network
        self.settings = settings
        self.fused = device.type == "cuda"
        self.frozen = self.network.wels.blocks[: settings.freeze] if settings.freeze else []
        for block in self.frozen:
            block.requires_grad_(False)
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = _optimizer(weights, settings, self.fused)
        self.average = MovingAverage(self.network, settings.ema) if settings.ema else None
        if online is not None:
            online = online.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.objective = Objective(self.network, settings.precision, settings.samples, online)
        if execution.compile != "off":
            self.objective.compile(dynamic=False)
        self._parallel = _data_parallel(self.objective) if distributed.world_size() > 1 else None

    @property
    def result(self) -> Network:
        """The network to validate and save: the moving average if there is one, else ``network``."""
        return self.network if self.average is None else self.average.network

    def step(self, parts: Sequence[Part], learning_rate: float) -> Tensor:
        """Make one optimiser step on this rank's parts of a batch; return their share of the batch's loss."""
        self.network.train()
        for block in self.frozen:
            block.eval()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        objective = self._parallel or self.objective
        total = torch.zeros((), device=parts[0].batch.waveform.device)
        for part in parts:
            torch.manual_seed(part.seed)
            with self._gradient_sync(part is parts[-1]):
                loss = objective(part.batch) * part.share
                (loss * distributed.world_size()).backward()  # DDP averages the ranks' gradients; we need their sum
            total += loss.detach()
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network)
        return total

    def _gradient_sync(self, last: bool) -> AbstractContextManager[None]:
        """Reduce gradients over the ranks after the last part of a batch only."""
        if last or self._parallel is None:
            return nullcontext()
        return self._parallel.no_sync()

    def online_targets(self, part: Part) -> Tensor:
        """Targets [clips, classes] in [0, 1] of a part, with the scores of online teachers."""
        return self.objective.online_targets(part.batch)

    def average_statistics(self) -> None:
        """Average batch normalisation's running statistics over the ranks, so that all have the same network."""
        for network in dict.fromkeys((self.network, self.result)):  # in the same order on all ranks
            distributed.average_batch_norm_statistics(network)

    def is_finite(self) -> bool:
        """Whether all weights are finite."""
        return bool(torch.stack([weight.isfinite().all() for weight in self.network.parameters()]).all())

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), **average}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` returned, on this or another device."""
        self.network.load_state_dict(state["network"])
        for group in state["optimizer"]["param_groups"]:
            group["fused"] = self.fused
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _optimizer(weights: Sequence[nn.Parameter], settings: Settings, fused: bool) -> torch.optim.Optimizer:
    """Adam; with weight decay AdamW, which leaves biases and batch norms alone."""
    if not settings.weight_decay:
        return torch.optim.Adam(weights, settings.learning_rate, fused=fused)
    decayed = [weight for weight in weights if weight.ndim > 1]
    others = [weight for weight in weights if weight.ndim == 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, settings.learning_rate, fused=fused)


def _data_parallel(objective: nn.Module) -> DistributedDataParallel:
    """``objective`` with gradients averaged over the ranks. Each rank keeps its own batch normalisation statistics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 renames broadcast_buffers
        return DistributedDataParallel(objective, broadcast_buffers=False, gradient_as_bucket_view=True)
