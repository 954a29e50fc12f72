"""A WELS-Net with more filters that computes the same scores: a warm start for a wider network.

Filters are copied, and the layers that read a copied filter divide their weights among its copies (Chen et al., 2016,
"Net2Net: accelerating learning via knowledge transfer"). The shares are random, so that the copies get different
gradients and become different filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LAYERS = ("B1.0", "B1.1", "B2.0", "B2.1", "B3.0", "B3.1", "B4.0", "B4.1", "L1", "L2")  # those whose filters are counted
NEXT = "L3"  # the layer after them
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def can_widen(old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether every layer has at least as many filters in ``new`` as in ``old`` (B1, B2, B3, B4, L1 and L2)."""
    return all(more >= fewer for fewer, more in zip(old, new, strict=True))


def widen(weights: Mapping[str, Tensor], filters: Sequence[int], random: np.random.Generator) -> dict[str, Tensor]:
    """The state of a network with ``filters`` filters that computes the scores of the one with ``weights``.

    Parameters
    ----------
    weights : state of a ``training.networks.wels.Network``.
    filters : of B1, B2, B3, B4, L1 and L2; at least as many as the network has.
    """
    b1, b2, b3, b4, l1, l2 = filters
    counts = dict(zip(LAYERS, (b1, b1, b2, b2, b3, b3, b4, b4, l1, l2), strict=True))
    changed = dict(weights)
    inputs, shares = np.zeros(1, np.int64), np.ones(1, np.float32)  # the log-mel
    for layer in (*LAYERS, NEXT):
        convolution = weights[f"wels.{layer}.0.weight"]
        read = convolution[:, torch.from_numpy(inputs)] * torch.from_numpy(shares)[:, None, None]
        inputs, shares = _copies(len(convolution), counts.get(layer, len(convolution)), random)
        copied = torch.from_numpy(inputs)
        changed[f"wels.{layer}.0.weight"] = read[copied]
        for name in BATCH_NORM:
            changed[f"wels.{layer}.1.{name}"] = weights[f"wels.{layer}.1.{name}"][copied]
    return changed


def _copies(old: int, new: int, random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each of ``new`` filters: which of the ``old`` ones it copies, and its share of that filter's weight."""
    source = np.concatenate([np.arange(old), random.integers(0, old, new - old)])
    size = random.uniform(0.5, 1.5, new)
    return source, (size / np.bincount(source, size)[source]).astype(np.float32)
