"""The device a process computes on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from sedkit.errors import SedkitError
from training.runtime import distributed


def torch_device(name: str) -> torch.device:
    """The device for ``--device``: ``auto`` is CUDA where it works, otherwise the CPU.

    Under torchrun, each process gets the CUDA device of its local rank.

    Raises
    ------
    SedkitError
        If CUDA is asked for and missing, or there are more processes than CUDA devices.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SedkitError("--device cuda: torch finds no CUDA device; install a CUDA build of torch and its driver")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    if distributed.local_rank() >= torch.cuda.device_count():
        raise SedkitError(
            f"{distributed.local_world_size()} processes, but {torch.cuda.device_count()} CUDA devices on a machine; "
            "start at most one process per device (torchrun --nproc-per-node)"
        )
    return torch.device("cuda", distributed.local_rank())


def describe_device(device: torch.device) -> str:
    """Name of the accelerator, or of the processor with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        info = Path("/proc/cpuinfo").read_text("utf-8")
        name = next(line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
