"""Networks that have learnt elsewhere and go on learning here, as teachers: ``--fine-tune KIND=FILE``.

They stand in the cascade in WELS-Net's place: from log-mel to the same segments. Both kinds halve their maps five times
in the direction of time, so that there is one a segment hop of 32 frames; a segment is the mean of the three that it
spans. Where WELS-Net begins from scratch, they begin from the weights of FILE, which the run keeps in ``begun.pt``.
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
from training.networks import efficientnet
from training.networks import yamnet_tflite as peers
from training.networks.logmel import LogMel
from training.networks.wels import Network, Pooling, Scores, Width, pool
from training.networks.yamnet import BANDS, BINS, COLUMN, STEP, Yamnet, layers, magnitudes, read_yamnet, spectrum

DECIBELS = 20 / math.log(10)  # in one neper, the unit of YAMNet's log-mel


class YamnetLogMel(LogMel):
    """YAMNet's front end in the terms of ours: magnitudes of 64 mel bands, 125 to 7500 Hz, in dB, normalised."""

    silence = -35.0  # of magnitudes that are not divided by the window: the same noise as for ours

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("spectrum", spectrum(), persistent=False)
        self.register_buffer("filters", torch.zeros(BINS, BANDS))
        self.register_buffer("floor", torch.ones(BANDS))

    def decibels(self, waveform: Tensor, response: Tensor | None = None) -> Tensor:
        """As :meth:`LogMel.decibels`; frame ``t`` is of the 400 samples from 160 ``t`` on."""
        samples = waveform.shape[-1]
        padded = F.pad(waveform, (0, padded_samples(samples) + COLUMN - STEP - samples))
        magnitude = magnitudes(padded, self.spectrum) @ self.filters
        if response is not None:
            magnitude = magnitude * (10 ** (response / 20)).unsqueeze(1)
        return DECIBELS * torch.log(magnitude + self.floor)

    def learnt(self, logmel: Tensor) -> Tensor:
        """What YAMNet knows, the logarithm of magnitudes, from the same normalised [batch, 1, frames, 64]."""
        return (logmel * self.std + self.mean) / DECIBELS


class Segmenter(nn.Module):
    """Log-mel [batch, 1, frames, 64] -> :class:`Scores`, by ``layers`` that leave a map every 32 frames.

    Parameters
    ----------
    filters : of the last of ``layers``; the size of the embeddings.
    """

    def __init__(self, layers: nn.Sequential, filters: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.classes = classes
        self.layers = layers
        self.dropout = nn.Dropout(dropout)
        self.L4 = nn.Conv2d(filters, classes, (1, 1))
        nn.init.constant_(self.L4.bias, -math.log(classes))  # about one class is heard in a clip

    def forward(self, logmel: Tensor) -> Scores:
        maps = self.layers(logmel).mean(3)
        embedding = F.avg_pool1d(maps, SPAN_FRAMES // STEP_FRAMES, 1)
        logits = self.L4(self.dropout(embedding).unsqueeze(-1))
        segments = torch.sigmoid(logits.float()).squeeze(-1).transpose(1, 2)
        return pool(segments, torch.ones_like(segments[..., :1]), embedding.transpose(1, 2))


class Origin(NamedTuple):
    """What there is to begin from."""

    title: str
    frontend: type[LogMel]
    layers: Callable[[], nn.Sequential]
    filters: int
    read: Callable[[Path], dict[str, Tensor]]  # FILE → its part of the state of a PretrainedNetwork


def _read_yamnet(path: Path) -> dict[str, Tensor]:
    yamnet: Yamnet = read_yamnet(path)
    state = {f"wels.layers.{name}": value for name, value in yamnet.layers.state_dict().items()}
    return state | {"frontend.filters": yamnet.mel, "frontend.floor": yamnet.floor}


def _read_efficientnet(path: Path) -> dict[str, Tensor]:
    return {f"wels.layers.{name}": value for name, value in efficientnet.read(path).items()}


BACKBONES = {
    "yamnet": Origin("YAMNet", YamnetLogMel, layers, peers.EMBEDDING, _read_yamnet),
    "efficientnet-lite0": Origin(
        "EfficientNet-Lite0", LogMel, efficientnet.layers, efficientnet.FILTERS, _read_efficientnet
    ),
}


class PretrainedNetwork(Network):
    """Waveform [batch, samples] -> :class:`Scores`, by a network of that kind. Its embeddings are of its own size."""

    def __init__(self, kind: str, classes: int, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)  # and not Network's: there is no WELS-Net in it
        self.frontend = BACKBONES[kind].frontend()
        self.wels = Segmenter(BACKBONES[kind].layers(), BACKBONES[kind].filters, classes, dropout)

    def score_logmel(self, logmel: Tensor) -> Scores:
        if isinstance(self.frontend, YamnetLogMel):
            logmel = self.frontend.learnt(logmel)
        scores: Scores = self.wels(logmel)
        return scores


def build_network(kind: str, classes: int, width: Width, dropout: float = 0.0, pooling: Pooling = "mean") -> Network:
    """A network as settings describe it: ``wels``, of a width and a pooling, or one of ``BACKBONES``."""
    return Network(classes, width, dropout, pooling) if kind == "wels" else PretrainedNetwork(kind, classes, dropout)
