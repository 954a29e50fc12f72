"""Training of one network in several processes: ``torchrun --nproc-per-node 8 -m training.secost ...``.

Every process (rank) runs the same code and draws the same global batches, but computes only its share of them. Rank 0
alone writes files and prints. Gradients are reduced over NCCL (Gloo on a CPU). Everything else (scores, decisions,
errors) goes over a second Gloo group with a long timeout, because decoding a data set on rank 0 can take hours.

Without torchrun there is one process, and the functions of this module do no communication.
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
from torch import nn

from sedkit.errors import SedkitError

STEP_TIMEOUT = timedelta(minutes=10)  # for gradients: a rank that is silent for so long ends the run
CONTROL_TIMEOUT = timedelta(days=30)  # for everything else: rank 0 may decode for hours
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun
Result = TypeVar("Result")
Number = TypeVar("Number", np.float32, np.float64)
Module = TypeVar("Module", bound=nn.Module)

_control: dist.ProcessGroup | None = None


class FailedOnRank0(Exception):
    """Rank 0 failed and reports the error; the other ranks exit silently."""


def launched_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return all(name in os.environ for name in ENVIRONMENT)


def rank() -> int:
    """Index of this process, from 0."""
    return int(os.environ["RANK"]) if launched_by_torchrun() else 0


def world_size() -> int:
    """Number of processes."""
    return int(os.environ["WORLD_SIZE"]) if launched_by_torchrun() else 1


def local_rank() -> int:
    """Index of this process on its machine, which is also the index of its CUDA device."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Connect the processes that torchrun started. Without torchrun this does nothing."""
    global _control
    if not launched_by_torchrun():
        yield
        return
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo", timeout=STEP_TIMEOUT, device_id=device if cuda else None)
    _control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
    try:
        yield
    except (RuntimeError, KeyboardInterrupt):
        raise  # other ranks may be gone, and destroying the group would wait for them
    except BaseException:
        dist.destroy_process_group()
        raise
    else:
        dist.destroy_process_group()


def on_rank_0(function: Callable[[], Result]) -> Result:
    """Call ``function`` on rank 0 only and return its result, which must be picklable, on every rank.

    Raises
    ------
    FailedOnRank0
        On the other ranks, if ``function`` raised an exception. Rank 0 gets the exception itself.
    """
    if world_size() == 1:
        return function()
    message: list[Any] = [None, False]  # result, whether there is one
    try:
        if rank() == 0:
            message = [function(), True]
    finally:
        dist.broadcast_object_list(message, 0, group=_control)
    if not message[1]:
        raise FailedOnRank0
    result: Result = message[0]
    return result


def rank_0_decides(choice: bool) -> bool:
    """Return rank 0's ``choice`` on every rank."""
    return bool(sum_over_ranks(np.array([float(choice and rank() == 0)]))[0])


def is_connection_error(error: RuntimeError) -> bool:
    """Whether ``error`` means that another rank is gone."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL", "Connection"))


def reported_once(error: SedkitError) -> SedkitError | FailedOnRank0:
    """The exception to raise for an error that occurs on every rank: ``error`` itself on rank 0 only."""
    return error if rank() == 0 else FailedOnRank0()


def sum_over_ranks(values: NDArray[Number]) -> NDArray[Number]:
    """Sum arrays of one shape over all ranks, in place; every rank gets the sum.

    Rows that are 0 on all ranks but one come out exactly as that rank computed them.
    """
    if world_size() > 1:
        dist.all_reduce(torch.from_numpy(values), group=_control)
    return values


@torch.no_grad()
def average_batch_norm_statistics(network: nn.Module) -> None:
    """Replace the running statistics of batch normalisation by their mean over the ranks, which saw different clips."""
    if world_size() == 1:
        return
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for statistic in (module.running_mean, module.running_var):
                assert statistic is not None
                dist.all_reduce(statistic)
                statistic /= world_size()


def with_sync_batch_norm(network: Module, device: torch.device) -> Module:
    """``network``, changed in place to normalise training batches by their statistics over all ranks.

    The weights and running statistics are kept.

    Raises
    ------
    SedkitError
        If there are several ranks and ``device`` is not CUDA, which torch's synchronised batch normalisation needs.
    """
    if world_size() == 1:
        return network
    if device.type != "cuda":
        raise reported_once(SedkitError("--set sync-bn=true: several processes need CUDA for it; leave it out"))
    converted: Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return converted
