"""How one network is trained: settings that decide the result, and those of the machine, which do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch

from sedkit.geometry import SAMPLE_RATE
from training.data.augment.augmentation import Augmentation
from training.networks.wels import Pooling, Stem, Width
from training.supervision.targets import TeachersHear

Schedule = Literal["cosine", "constant"]
Sampling = Literal["shuffled", "balanced"]
Precision = Literal["float32", "tf32", "bf16"]
Compile = Literal["off", "on"]
Kind = Literal["wels", "yamnet"]
Students = Literal["random", "teacher"]


@dataclass(frozen=True)
class Settings:
    """Settings of one network's training that decide the result.

    Attributes
    ----------
    epochs : number of epochs.
    batch_size : clips of an optimiser step, over all processes and parts.
    learning_rate : peak learning rate of Adam.
    weight_decay : decoupled decay of convolution weights (AdamW); 0: Adam.
    schedule, warmup : learning-rate schedule (training.loop.schedule); ``warmup`` is the share of the steps in which
        the rate rises.
    clip : largest norm of the gradient; 0: no clipping.
    ema : decay of the moving average of the weights, which is then validated and saved; 0: no average.
    sampling : ``shuffled``: every clip once per epoch; ``balanced``: clips of rare classes more often.
    epoch_clips : clips of an epoch; 0: as many as the training split has.
    crop : seconds of a training crop.
    network : ``wels``: WELS-Net, from scratch or from a warm start; the others are pretrained backbones to fine-tune
        (training.networks.pretrained), to which ``width`` does not apply.
    freeze : number of WELS-Net's blocks B1 to B4, from B1 on, that keep their initial weights and statistics.
    between : weight of the trained network when it is interpolated with the warm start: 0 is the warm start, 1 the
        trained network. The interpolated network, with batch statistics of its own, is validated and kept.
    width, dropout, pooling, stem : of the network (training.networks.wels).
    gate : leave silent segments out of clip scores, in training and scoring alike (training.networks.wels); False: the
        plain mean over all segments of Table 1.
    precision : of the network's forward and backward pass. The front end, the last layer, loss and weights are float32.
        ``tf32``: float32, but CUDA multiplies with 10 bits of mantissa in convolutions.
    sync_bn : normalise batches by the statistics over all processes instead of each process's own.
    validate_every : epochs between two validations; the last epoch is always validated.
    teachers_hear : the teachers' input. ``clip``: whole clips, scored once (Algorithm 1). ``view``: the student's
        augmented input, in every batch (online distillation); stored scores remain those of whole clips. ``sounds``:
        isolated clips, scored once by segment (training.supervision.segments); the student gets overlaid clips and
        learns from the targets of segments. Stored scores are those of every segment in which a clip sounds.
    temperatures : of teachers, by name or number of the generation: their logits are divided by it. Below 1, targets
        are sharper.
    students : initial weights of students: those of their latest ``teacher`` among the generations, which then counts
        as epoch 0 when the best epoch is chosen; or ``random`` (Algorithm 1).
    views : period in epochs after which crops and mixtures repeat, so that online teachers' scores can be reused;
        0: they never repeat.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    clip: float = 0.0
    ema: float = 0.0
    sampling: Sampling = "shuffled"
    epoch_clips: int = 0
    crop: float = 5.12
    network: Kind = "wels"
    freeze: int = 0
    between: float = 1.0
    width: Width = 1.0
    dropout: float = 0.2
    pooling: Pooling = "mean"
    stem: Stem = "full"
    gate: bool = True
    precision: Precision = "float32"
    sync_bn: bool = False
    validate_every: int = 1
    teachers_hear: TeachersHear = "clip"
    temperatures: dict[str, float] = field(default_factory=dict)
    students: Students = "teacher"
    views: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def validates_after(self, epoch: int) -> bool:
        """Whether ``epoch``, counted from 1, is followed by validation."""
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def view_epoch(self, epoch: int) -> int:
        """The epoch whose crops and mixtures ``epoch`` repeats with online teachers; both are counted from 1."""
        return (epoch - 1) % self.views + 1 if self.views else epoch

    @property
    def samples(self) -> int:
        """Samples of a training crop, as the network gets it."""
        return round(self.crop * SAMPLE_RATE)

    @property
    def samples_read(self) -> int:
        """Samples to read for a crop: as many as one at the highest speed uses up."""
        return math.ceil(self.samples * (1 + self.augmentation.speed))


@dataclass(frozen=True)
class Execution:
    """Settings of the machine. They may change when a run is resumed.

    Attributes
    ----------
    device : of this process.
    compile : ``on``: use torch.compile.
    accumulate : parts of a step that a process computes one after the other, to save memory.
    workers : threads that read clips ahead.
    channels_last : memory layout of the feature maps.
    deterministic : have CUDA choose kernels that give the same bits in every run.
    """

    device: torch.device
    compile: Compile = "off"
    accumulate: int = 1
    workers: int = 1
    channels_last: bool = True
    deterministic: bool = True
