"""Batch statistics of a network whose weights were not trained with them, measured on recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from training.data.audio import FULL_SCALE
from training.networks.wels import Network


@torch.no_grad()
def measure_batch_norm(network: Network, crops: Sequence[NDArray[np.int16]], batch_size: int, frozen: int = 0) -> None:
    """Set the running statistics of each batch norm to those of its inputs on ``crops``; the network ends in eval mode.

    Parameters
    ----------
    crops : [samples] int16 each, all of one length.
    frozen : number of WELS-Net's blocks, from B1 on, that keep their statistics.
    """
    network.eval()
    kept = {module for block in network.wels.blocks[:frozen] for module in block.modules()} if frozen else set()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module not in kept]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
        norm.train()
    device = next(network.parameters()).device
    for first in range(0, len(crops), batch_size):
        network(torch.from_numpy(np.stack(crops[first : first + batch_size]) / np.float32(FULL_SCALE)).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
