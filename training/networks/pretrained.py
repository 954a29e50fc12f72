"""Pretrained backbones that are fine-tuned as teachers: ``--fine-tune KIND=FILE``.

They replace WELS-Net in the cascade and produce the same segments from a log-mel. A backbone downsamples time by 32,
which is one map position per segment hop; a segment's embedding is the mean of the three positions that it spans.
Training starts from the weights in FILE, which the run keeps in ``begun.pt``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.geometry import SPAN_FRAMES, STEP_FRAMES, padded_samples
from training.networks import yamnet_tflite
from training.networks.logmel import LogMel
from training.networks.wels import Network, Pooling, Segments, Stem, Width, in_float32
from training.networks.yamnet import BANDS, BINS, COLUMN, STEP, Yamnet, layers, magnitudes, read_yamnet, spectrum

DB_PER_NEPER = 20 / math.log(10)  # YAMNet's log-mel is the natural logarithm of a magnitude


class YamnetLogMel(LogMel):
    """YAMNet's front end with the interface of :class:`LogMel`: 64 mel bands from 125 to 7500 Hz, in dB, normalised."""

    silence = -35.0  # the same noise level as LogMel.silence; YAMNet's filters and window are scaled differently

    spectrum: Tensor
    filters: Tensor
    floor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spectrum", spectrum(), persistent=False)
        self.register_buffer("filters", torch.zeros(BINS, BANDS))
        self.register_buffer("floor", torch.ones(BANDS))

    def decibels(self, waveform: Tensor, response: Tensor | None = None) -> Tensor:
        """As :meth:`LogMel.decibels`, but frame ``t`` covers the samples ``[160 t, 160 t + 400)``."""
        samples = waveform.shape[-1]
        padded = F.pad(waveform, (0, padded_samples(samples) + COLUMN - STEP - samples))
        magnitude = magnitudes(padded, self.spectrum) @ self.filters
        if response is not None:
            magnitude = magnitude * (10 ** (response / 20)).unsqueeze(1)
        return DB_PER_NEPER * torch.log(magnitude + self.floor)

    def to_nepers(self, logmel: Tensor) -> Tensor:
        """Normalised log-mel [batch, 1, frames, 64] -> natural logarithm of magnitudes, the input YAMNet expects."""
        return (logmel * self.std + self.mean) / DB_PER_NEPER


class Segmenter(nn.Module):
    """Log-mel [batch, 1, frames, 64] -> :class:`Segments`: a backbone and a classifier for each segment.

    Parameters
    ----------
    layers : the backbone; it downsamples time by 32.
    filters : channels of its output, which is the size of the embeddings.
    classes : number of classes.
    dropout : probability of dropping a unit of the embedding in training.
    """

    def __init__(self, layers: nn.Sequential, filters: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.classes = classes
        self.layers = layers
        self.dropout = nn.Dropout(dropout)
        self.L4 = nn.Conv2d(filters, classes, (1, 1))
        assert self.L4.bias is not None
        nn.init.constant_(self.L4.bias, -math.log(classes))  # prior: about one class per clip

    def forward(self, logmel: Tensor) -> Segments:
        maps = self.layers(logmel).mean(3)
        embedding = F.avg_pool1d(maps, SPAN_FRAMES // STEP_FRAMES, 1).to(self.L4.weight.dtype)
        with in_float32(embedding.device.type):
            logits = self.L4(self.dropout(embedding).unsqueeze(-1)).squeeze(-1).transpose(1, 2)
        ones = torch.ones_like(logits[..., :1])
        return Segments(logits, ones, embedding.transpose(1, 2), ones)


class Backbone(NamedTuple):
    """A pretrained backbone that can be fine-tuned."""

    title: str
    frontend: type[LogMel]
    layers: Callable[[], nn.Sequential]
    filters: int
    read: Callable[[Path], dict[str, Tensor]]  # FILE -> the backbone's part of a PretrainedNetwork's state


def _read_yamnet(path: Path) -> dict[str, Tensor]:
    yamnet: Yamnet = read_yamnet(path)
    state = {f"wels.layers.{name}": value for name, value in yamnet.layers.state_dict().items()}
    return state | {"frontend.filters": yamnet.mel, "frontend.floor": yamnet.floor}


BACKBONES = {
    "yamnet": Backbone("YAMNet", YamnetLogMel, layers, yamnet_tflite.EMBEDDING, _read_yamnet),
}


class PretrainedNetwork(Network):
    """Waveform [batch, samples] -> :class:`Scores`. The size of the embeddings is that of the backbone."""

    def __init__(self, kind: str, classes: int, dropout: float = 0.0, gate: bool = True) -> None:
        nn.Module.__init__(self)  # Network's own would build a WELS-Net
        backbone = BACKBONES[kind]
        self.frontend = backbone.frontend()
        self.wels = Segmenter(backbone.layers(), backbone.filters, classes, dropout)  # type: ignore[assignment]
        self.gate = gate
        self.register_buffer("exempt", torch.zeros(classes))

    def segments(self, logmel: Tensor, audible: Tensor) -> Segments:
        assert isinstance(self.frontend, YamnetLogMel)
        return super().segments(self.frontend.to_nepers(logmel), audible)


def build_network(
    kind: str,
    classes: int,
    width: Width,
    dropout: float = 0.0,
    pooling: Pooling = "mean",
    gate: bool = True,
    stem: Stem = "full",
) -> Network:
    """The network that settings describe: WELS-Net (kind ``wels``) or one of ``BACKBONES``, which ignore the width."""
    if kind == "wels":
        return Network(classes, width, dropout, pooling, gate, stem)
    return PretrainedNetwork(kind, classes, dropout, gate)
