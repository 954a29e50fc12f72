"""How one network is trained (which decides the result), and on what (which does not)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from sedkit.geometry import SAMPLE_RATE
from training.data.augment.augmentation import Augmentation
from training.networks.wels import Pooling, Width

Schedule = Literal["cosine", "constant"]
Sampling = Literal["shuffled", "balanced"]
Precision = Literal["float32", "bf16"]
Compile = Literal["off", "on"]
Hearing = Literal["clip", "view", "sounds"]
Kind = Literal["wels", "yamnet", "efficientnet-lite0"]


@dataclass(frozen=True)
class Settings:
    """How one network is trained.

    Attributes
    ----------
    epochs : as usual.
    batch_size : clips of one step of the optimiser, over all processes and parts.
    learning_rate : peak, for Adam.
    schedule, warmup : its course (training.loop.schedule); ``warmup`` is the share of the steps in which it rises.
    clip : largest norm of the gradient; 0: any.
    ema : decay of the moving average of the weights, which then is what is validated and kept; 0: none.
    sampling : ``shuffled``: every clip once an epoch; ``balanced``: clips of rare classes more often.
    crop : seconds of a training crop.
    network : ``wels``: WELS-Net, from scratch or from where another run's ended; another, fine-tuned
        (training.networks.pretrained), has no width.
    freeze : of WELS-Net's blocks B1 to B4, how many keep the weights and statistics that they begin with.
    between : where the network that is kept lies on the way from the weights begun with, 0, to those learnt, 1.
    width, dropout, pooling : of the network (training.networks.wels).
    precision : of the training's forward and backward pass. Front end, sigmoid, loss and weights are float32.
    sync_bn : batch statistics of all processes together, in place of each process's own.
    validate_every : epochs between two looks at the validation split; the last epoch is always looked at.
    teachers_hear : ``clip``: the whole clip, once (Algorithm 1); ``view``: what the student hears, crop and mixture,
        each time. Predictions that were stored before are of whole clips either way. ``sounds``: each clip by itself,
        once, segment by segment (training.supervision.segments): the student, which hears several over each other, learns by segments.
    views : epochs after which crops and mixtures come again, and with them what teachers said of them; 0: never.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 1e-3
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    clip: float = 0.0
    ema: float = 0.0
    sampling: Sampling = "shuffled"
    crop: float = 5.12
    network: Kind = "wels"
    freeze: int = 0
    between: float = 1.0
    width: Width = 1.0
    dropout: float = 0.2
    pooling: Pooling = "mean"
    precision: Precision = "float32"
    sync_bn: bool = False
    validate_every: int = 1
    teachers_hear: Hearing = "clip"
    views: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def validated(self, epoch: int) -> bool:
        """Is the validation split looked at after this epoch, from 1?"""
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def view(self, epoch: int) -> int:
        """The epoch, from 1, whose crops and mixtures are heard in this one by a student of teachers that hear them."""
        return (epoch - 1) % self.views + 1 if self.views else epoch

    @property
    def samples(self) -> int:
        """Samples of a training crop as it is heard."""
        return round(self.crop * SAMPLE_RATE)

    @property
    def read(self) -> int:
        """Samples of a training crop as it is read, of which a fast one takes all."""
        return math.ceil(self.samples * (1 + self.augmentation.speed))


@dataclass(frozen=True)
class Execution:
    """On what a network is trained: may change when a run is resumed.

    Attributes
    ----------
    device : of this process.
    compile : ``on``: use torch.compile.
    accumulate : parts that a process goes through one after the other for one step, to save memory.
    workers : threads that read ahead.
    channels_last : memory layout of the maps.
    """

    device: torch.device
    compile: Compile = "off"
    accumulate: int = 1
    workers: int = 1
    channels_last: bool = True
