"""A WELS-Net with another stem: a warm start for a faster network (patches), or for one of Table 1 (the full stem).

B1 is replaced by a random one and fitted to the outputs of the old one (least squares). The other layers stay. The
scores change: the fit leaves about a third of the variance of B1's outputs for patches and a fifth for the full stem,
which fine-tuning makes up for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.audio import FULL_SCALE, crop
from training.networks.wels import Network, Stem, first_block

STEPS = 800  # of Adam
BATCH = 8  # crops in a step
LEARNING_RATE = 1e-2  # at the start; it falls to 0 along a cosine
GAIN = (-15.0, 10.0)  # dB, of the crops


def with_stem(
    network: Network, stem: Stem, waveforms: Sequence[NDArray[np.int16]], samples: int, seed: int
) -> dict[str, Tensor]:
    """The state of a network with this stem, whose B1 approximates that of ``network`` on random crops.

    Parameters
    ----------
    network : with the other stem.
    waveforms : 16 kHz, int16 [samples] each, from which crops of ``samples`` samples are drawn.
    """
    random = np.random.default_rng(seed)
    old = network.eval().wels.B1
    filters = len(network.state_dict()["wels.B1.0.0.weight"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = first_block(filters, stem).train()
    optimizer = torch.optim.Adam(new.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    spread: Tensor | None = None
    with click.progressbar(range(STEPS), label="fitting B1", file=sys.stderr) as steps:
        for _ in steps:
            chosen = random.integers(len(waveforms), size=BATCH)
            crops = np.stack([crop(waveforms[at], samples, random.random()) for at in chosen]) / np.float32(FULL_SCALE)
            gain = 10 ** (random.uniform(*GAIN, (BATCH, 1)).astype(np.float32) / 20)
            with torch.no_grad():
                logmel = network.frontend(torch.from_numpy(crops * gain))
                target = old(logmel)
            if spread is None:
                spread = target.std((0, 2, 3)) + 1e-3
            loss = (new(logmel) - target / spread[:, None, None]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    assert spread is not None
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            if name.startswith("1.1."):  # the last batch norm; ReLU and pooling commute with the factor
                parameter.mul_(spread)
    kept = {name: value for name, value in network.state_dict().items() if not name.startswith("wels.B1.")}
    return kept | {f"wels.B1.{name}": value for name, value in new.state_dict().items()}
