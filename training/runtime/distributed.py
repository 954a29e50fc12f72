"""Several processes that train one network: ``torchrun --nproc-per-node 8 -m training.secost ...``.

Every process (rank) goes through the same code and draws the same global batches; each computes its slice.
Rank 0 alone writes files and speaks. Gradients pass over NCCL (Gloo on a CPU), everything else (scores,
decisions, errors) over a Gloo group of its own, which waits as long as rank 0 needs to decode a data set.

Outside torchrun all of this is one process, and costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from sedkit.errors import SedkitError

SILENCE = timedelta(minutes=10)  # of a rank, in a step, after which the run ends
PATIENCE = timedelta(days=30)  # with rank 0, which may have much to decode
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # torchrun sets these
Result = TypeVar("Result")
Number = TypeVar("Number", np.float32, np.float64)

_control: dist.ProcessGroup | None = None


class Elsewhere(Exception):
    """Rank 0 says what went wrong; the others end silently."""


def launched() -> bool:
    """Was this process started by torchrun?"""
    return all(name in os.environ for name in ENVIRONMENT)


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if launched() else 0


def ranks() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def local_rank() -> int:
    """Number of this process on its machine: that of its CUDA device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_ranks() -> int:
    """Processes of this run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def session(device: torch.device) -> Iterator[None]:
    """The processes that torchrun has started find each other; without torchrun, nothing happens."""
    global _control
    if not launched():
        yield
        return
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=SILENCE, device_id=device if cuda else None)
    _control = dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        yield
    except (RuntimeError, KeyboardInterrupt):
        raise  # without taking leave of the others, who may be gone
    except BaseException:
        dist.destroy_process_group()
        raise
    else:
        dist.destroy_process_group()


def on_first(work: Callable[[], Result]) -> Result:
    """What ``work`` returns on rank 0, which alone does it; the others wait. The result must be picklable.

    Raises
    ------
    Elsewhere
        On the other ranks, if ``work`` raised an exception on rank 0, where it passes on.
    """
    if ranks() == 1:
        return work()
    box: list[Any] = [None, False]
    try:
        if rank() == 0:
            box = [work(), True]
    finally:
        dist.broadcast_object_list(box, 0, group=_control)
    if not box[1]:
        raise Elsewhere
    result: Result = box[0]
    return result


def decided(choice: bool) -> bool:
    """Rank 0's choice, on every rank."""
    return bool(summed(np.array([float(choice and rank() == 0)]))[0])


def lost(error: RuntimeError) -> bool:
    """Does ``error`` say that another rank is gone?"""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "Connection"))


def everywhere(error: SedkitError) -> SedkitError | Elsewhere:
    """For an error that every rank meets: itself on rank 0, so that it is said once."""
    return error if rank() == 0 else Elsewhere()


def summed(values: NDArray[Number]) -> NDArray[Number]:
    """The sum over all ranks of an array of one shape, on each of them.

    Of rows that one rank has and the others have as zeros, those rows, exactly.
    """
    if ranks() > 1:
        dist.all_reduce(torch.from_numpy(values), group=_control)
    return values


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Running statistics of batch normalisation become the mean over the ranks, which saw different clips."""
    if ranks() == 1:
        return
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for statistic in (module.running_mean, module.running_var):
                dist.all_reduce(statistic)
                statistic /= ranks()


def synchronised(network: nn.Module) -> nn.Module:
    """``network`` with batch statistics of all ranks together, in training. Running statistics stay in place."""
    if ranks() == 1:
        return network
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                wide = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
                wide.load_state_dict(norm.state_dict())
                wide.weight, wide.bias = norm.weight, norm.bias
                setattr(parent, name, wide)
    return network


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the clips of all ranks, on any device: torch's own needs CUDA."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes = (0, 2, 3)
        count = _Sum.apply(torch.tensor(float(x.numel() / x.shape[1]), device=x.device))
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


class _Sum(torch.autograd.Function):
    """Sum over the ranks, and of the gradients on the way back."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(context, gradient)
