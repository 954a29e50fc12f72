"""WELS-Net, Table 1 of the SeCoST paper: log-mel in, K segment probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.contract import EMBEDDING, Label
from sedkit.geometry import SPAN_FRAMES, STEP_FRAMES
from training.networks.logmel import BANDS, LogMel

FILTERS = (64, 128, 256, 512, 2048, 1024)  # of B1, B2, B3, B4, L1, L2 in Table 1

MAX_LOG_WEIGHT = 10.0  # attention weights lie in [exp(-10), exp(10)]
SILENCE = "/m/028v0c"  # AudioSet's class "Silence"
MIN_WEIGHT_SUM = 1e-6  # avoids 0 / 0 in silence, where all weights are 0

Width = float | Sequence[int]  # a factor on Table 1's filters of B1 to L2, or the six filter counts themselves
Pooling = Literal["mean", "attention"]
Stem = Literal["full", "patches"]  # the first convolution: 3 x 3 as in Table 1, or patches of 2 x 2 without overlap


class Segments(NamedTuple):
    """What the network computes for each segment of a batch of clips, before layer P."""

    logits: Tensor  # [batch, K, classes] float32
    weights: Tensor  # [batch, K, classes] in the clip's mean; [batch, K, 1], all 1, for mean pooling
    embedding: Tensor  # [batch, K, 1024], layer L3
    audible: Tensor  # [batch, K, classes] 1; 0 for silent segments, which score 0 and are left out of the clip's mean


class Scores(NamedTuple):
    """Output of the network for a batch of clips."""

    segments: Tensor  # [batch, K, classes], probabilities
    clip: Tensor  # [batch, classes], layer P: the weighted mean over the K segments
    embedding: Tensor  # [batch, K, 1024], layer L3
    weights: Tensor  # [batch, K, classes], 0 for silent segments


def exempt_classes(labels: Sequence[Label]) -> Tensor:
    """[classes] 1 for the classes that a silent segment may have, that is AudioSet's "Silence"; 0 for the others."""
    return torch.tensor([float(label.mid == SILENCE) for label in labels])


def pool(segments: Segments) -> Scores:
    """Apply layer P: clip scores are the weighted mean of the segments that are not silent."""
    scores, weights = torch.sigmoid(segments.logits) * segments.audible, segments.weights * segments.audible
    clip = (scores * weights).sum(1) / weights.sum(1).clamp(min=MIN_WEIGHT_SUM)
    return Scores(scores, clip, segments.embedding, weights)


def in_float32(device: str) -> AbstractContextManager[object]:
    """A context without autocast on ``device``; ``meta``, where tensors have shapes only, knows no autocast."""
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def resolve_filters(width: Width) -> list[int]:
    """Filter counts of B1, B2, B3, B4, L1 and L2."""
    if isinstance(width, int | float):
        return [max(1, round(width * count)) for count in FILTERS]
    return list(width)


def describe_network(settings: Mapping[str, Any]) -> str:
    """Describe the network of a run's settings: "width 0.25", "filters 4,8,...", or "yamnet, fine-tuned"."""
    if settings["network"] != "wels":
        return f"{settings['network']}, fine-tuned"
    width, attention = settings["width"], ", attention" if settings["pooling"] == "attention" else ""
    patches = ", patches" if settings.get("stem") == "patches" else ""
    if isinstance(width, int | float):
        return f"width {width:g}{patches}{attention}"
    return f"filters {','.join(map(str, width))}{patches}{attention}"


def conv_bn_relu(inputs: int, filters: int, kernel: tuple[int, int], padding: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, filters, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(inplace=True),
    )


def block(inputs: int, filters: int, pool: int) -> nn.Sequential:
    """One of B1 to B4. Table 1 does not name the pooling; the first author's earlier networks use max pooling."""
    return nn.Sequential(
        conv_bn_relu(inputs, filters, (3, 3), 1),
        conv_bn_relu(filters, filters, (3, 3), 1),
        nn.MaxPool2d(pool),
    )


def first_block(filters: int, stem: Stem) -> nn.Sequential:
    """B1. With ``patches``, it computes a quarter as much, and depends on the same frames for each output."""
    if stem == "full":
        return block(1, filters, 4)
    return nn.Sequential(
        conv_bn_relu(1, filters, (2, 2), 0, stride=2),
        conv_bn_relu(filters, filters, (3, 3), 1),
        nn.MaxPool2d(2),
    )


class WelsNet(nn.Module):
    """Log-mel [batch, 1, frames, 64] -> :class:`Segments`; ``frames`` is a multiple of 32, at least 96.

    Under autocast, L4 and the attention weights still compute in float32: near a logit of 8, bfloat16 has steps of 0.03
    to 0.06.

    Parameters
    ----------
    classes : number of classes |C|.
    width : factor on the filters of B1 to L2 (1 is Table 1: 14,671,695 parameters for 527 classes), or the six filter
        counts. L3 has 1024 filters at every width, so all models have embeddings of one size.
    dropout : probability of dropping a unit of L1, L2 and L3 in training (Table 1 has no dropout).
    pooling : layer P. "mean" is that of Table 1. With "attention", a layer beside L4 weights each segment and class
        (Kong et al. 2018, *Audio Set classification with attention model*). Dropout is not applied to its input:
        noisy weights degrade the scores.
    stem : the first convolution. "full" is that of Table 1, 3 x 3 on every frame and band. "patches" takes patches of
        2 x 2, and the pooling of B1 is then 2 x 2.
    """

    def __init__(
        self,
        classes: int,
        width: Width = 1.0,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
        stem: Stem = "full",
    ) -> None:
        super().__init__()
        self.classes = classes
        b1, b2, b3, b4, l1, l2 = resolve_filters(width)
        self.B1 = first_block(b1, stem)
        self.B2 = block(b1, b2, 2)
        self.B3 = block(b2, b3, 2)
        self.B4 = block(b3, b4, 2)
        self.L1 = conv_bn_relu(b4, l1, (3, 2), 0)
        self.L2 = conv_bn_relu(l1, l2, (1, 1), 0)
        self.L3 = conv_bn_relu(l2, EMBEDDING, (1, 1), 0)
        # Table 1 prints BN -> ReLU here too. Eq. 1 needs probabilities: a biased convolution, then a sigmoid.
        self.L4 = nn.Conv2d(EMBEDDING, classes, (1, 1))
        self.weights = nn.Conv2d(EMBEDDING, classes, (1, 1)) if pooling == "attention" else None
        self.dropout = nn.Dropout(dropout)

    @property
    def blocks(self) -> list[nn.Sequential]:
        """B1 to B4."""
        return [self.B1, self.B2, self.B3, self.B4]

    def forward(self, logmel: Tensor) -> Segments:
        x = self.B4(self.B3(self.B2(self.B1(logmel))))
        x = self.dropout(self.L2(self.dropout(self.L1(x))))
        x = self.L3(x).to(self.L4.weight.dtype)
        with in_float32(x.device.type):
            logits = self.L4(self.dropout(x)).squeeze(-1).transpose(1, 2)
            weights = torch.ones_like(logits[..., :1])
            if self.weights is not None:
                weights = self.weights(x).clamp(-MAX_LOG_WEIGHT, MAX_LOG_WEIGHT).exp().squeeze(-1).transpose(1, 2)
        return Segments(logits, weights, x.squeeze(-1).transpose(1, 2), torch.ones_like(logits[..., :1]))


class Network(nn.Module):
    """Waveform [batch, samples], 16 kHz in [-1, 1] -> :class:`Scores`: the front end and WELS-Net.

    K follows from ``samples`` (sedkit.geometry): 30 segments for 10 s, at least one for any input.

    A segment is silent if no mel band in its span exceeds ``LogMel.silence``. Silent segments score 0 and are excluded
    from the clip score, in training as in scoring. Weak labels cannot teach this, because clips of every class contain
    silence.

    Parameters
    ----------
    gate : False: no segment counts as silent, and the clip score is Table 1's plain mean over all K segments.

    Attributes
    ----------
    exempt : [classes] 1 for the classes to which silent segments count like others; a part of the state.
    """

    exempt: Tensor

    def __init__(
        self,
        classes: int,
        width: Width = 1.0,
        dropout: float = 0.0,
        pooling: Pooling = "mean",
        gate: bool = True,
        stem: Stem = "full",
    ) -> None:
        super().__init__()
        self.frontend = LogMel()
        self.wels = WelsNet(classes, width, dropout, pooling, stem)
        self.gate = gate
        self.register_buffer("exempt", torch.zeros(classes))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}exempt", torch.zeros_like(self.exempt))  # older files lack it
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, waveform: Tensor) -> Scores:
        return self.score_decibels(self.frontend.decibels(waveform))

    def score_decibels(self, decibels: Tensor) -> Scores:
        """Scores of a log-mel in dB [batch, frames, 64]."""
        return pool(self.segments(self.frontend.normalise(decibels), self.audible(decibels)))

    def segments(self, logmel: Tensor, audible: Tensor) -> Segments:
        """The segments of a normalised log-mel [batch, 1, frames, 64]; ``audible`` is that of the log-mel in dB."""
        logits, weights, embedding, _ = self.wels(logmel)
        return Segments(logits, weights, embedding, audible)

    def audible(self, decibels: Tensor) -> Tensor:
        """[batch, K, classes]: 0 for the silent segments of a log-mel in dB [batch, frames, 64], 1 for the others.

        It is 1 for every segment in the columns of the exempt classes.
        """
        loudest = F.max_pool1d(decibels.amax(-1), SPAN_FRAMES, STEP_FRAMES).unsqueeze(-1)  # [batch, K, 1]
        heard = (loudest > self.frontend.silence).float() if self.gate else torch.ones_like(loudest)
        return torch.maximum(heard, self.exempt)


def multiply_adds(classes: int, width: Width, pooling: Pooling = "mean", stem: Stem = "full") -> int:
    """Multiply-adds of WELS-Net's convolutions for 1024 frames, which is 10 s of audio."""
    network = WelsNet(classes, width, pooling=pooling, stem=stem).eval()
    count = 0

    def count_layer(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal count
        if isinstance(module, nn.Conv2d):
            count += output.numel() * module.weight[0].numel()

    for module in network.modules():
        module.register_forward_hook(count_layer)
    with torch.no_grad():
        network(torch.zeros(1, 1, 1024, BANDS))
    return count
