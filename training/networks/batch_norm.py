"""Batch statistics of a network whose weights were not trained with them, measured on the batches of the training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from training.networks.wels import Network


@torch.no_grad()
def measure_batch_norm(network: Network, compute: Callable[[], None], frozen: int = 0) -> None:
    """Set the running statistics of each batch norm to those of its inputs; the network ends in eval mode.

    Parameters
    ----------
    compute : computes the network's output for batches of one size, the inputs to measure.
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
    compute()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
