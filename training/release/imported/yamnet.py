"""YAMNet from the TFLite file that Google publishes, with the file's 8-bit arithmetic.

The file's weights and activations are 8-bit integers. The network here computes with the same integers, held in
float32. Sums of products below 2 ** 24 are exact in it, and each layer's output is rounded to the file's grid: for the
same log-mel, all scores equal the file's. The front end is float32 in the file, too. Where its result is just between
two integers, the other one may be chosen, which changes few scores.

Segments are YAMNet's patches: 0.96 s, one every 0.48 s. Its last analysis window of 25 ms reaches 15 ms beyond.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.contract import Label
from sedkit.geometry import Geometry
from training.networks.yamnet import BANDS, BINS, COLUMN, FIRST, PAIRS, PATCH, PATCH_HOP, STEP, magnitudes, spectrum
from training.networks.yamnet_tflite import EMBEDDING, YamnetTflite
from training.release.imported.checkpoint import ImportModelError
from training.release.imported.classes import named_labels
from training.release.imported.segmenting import Segmenting

HOP, SPAN, REACH = PATCH_HOP * STEP, PATCH * STEP, COLUMN - STEP  # samples
LARGEST = 255  # of an activation, whose smallest is 0
REMEDY = "give YAMNet's original TFLite file"


class Quantised(NamedTuple):
    """A tensor of the file: integers, the value of a step (one, or one per filter), and the integer that means 0."""

    values: NDArray[np.float32]
    scales: NDArray[np.float32]
    zero: int


class IntegerLayer(nn.Module):
    """Convolution of integers, rounded to the integers 0 to 255 of its output's grid; 0 and 255 are its limits.

    At stride 2, maps of even size are padded at the end only, as TensorFlow does.
    """

    weight: Tensor
    bias: Tensor
    factor: Tensor

    def __init__(self, inputs: int, filters: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.stride, self.groups, self.padding = stride, groups, kernel // 2 if stride == 1 else 0
        self.register_buffer("weight", torch.zeros(filters, inputs // groups, kernel, kernel))
        self.register_buffer("bias", torch.zeros(filters))
        self.register_buffer("factor", torch.zeros(filters, 1, 1))  # step of the products / step of the output

    def forward(self, maps: Tensor) -> Tensor:
        if self.stride == 2:
            maps = F.pad(maps, (0, 1, 0, 1))
        sums = F.conv2d(maps, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        # The factors come after the ReLU, where no runtime can multiply them into the weights.
        return (sums.relu() * self.factor).round().clamp(max=LARGEST)

    def load(self, source: Quantised, weight: Quantised, bias: Quantised, output: Quantised) -> None:
        """Take over the file's tensors of this layer, whose input is `source`."""
        axes = (0, 3, 1, 2) if self.groups == 1 else (3, 0, 1, 2)
        self.weight.copy_(_tensor(weight.values.transpose(axes), self.weight))
        self.bias.copy_(_tensor(bias.values, self.bias))
        self.factor.copy_(_tensor(source.scales * weight.scales / output.scales, self.factor))


class Yamnet8Bit(Segmenting):
    """Waveform [batch, samples], 16 kHz in [-1, 1] → scores of 521 classes and embeddings [batch, K, 1024]."""

    geometry = Geometry(16_000, HOP, SPAN, SPAN + 2 * REACH)

    spectrum: Tensor
    mel: Tensor
    floor: Tensor
    weight: Tensor
    bias: Tensor
    factor: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("spectrum", spectrum(), persistent=False)
        self.register_buffer("mel", torch.zeros(BINS, BANDS))
        self.register_buffer("floor", torch.ones(BANDS))  # added to each band before the logarithm
        stack, inputs = [IntegerLayer(1, FIRST, 3, 2, 1)], FIRST
        for filters, stride in PAIRS:
            stack += [IntegerLayer(inputs, inputs, 3, stride, inputs), IntegerLayer(inputs, filters, 1, 1, 1)]
            inputs = filters
        self.layers = nn.Sequential(*stack)
        self.register_buffer("weight", torch.zeros(classes, EMBEDDING))
        self.register_buffer("bias", torch.zeros(classes))
        self.register_buffer("factor", torch.zeros(classes))
        self.input_scale, self.input_zero = 1.0, 0  # of the log-mel
        self.mean_factor, self.embedding_scale = 1.0, 1.0
        self.logit_scale, self.logit_zero = 1.0, 0
        self.score_steps = 256.0

    def segments(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        return self.score_patches(self.patches(padded))

    def patches(self, padded: Tensor) -> Tensor:
        """Log-mel of each segment [batch, K, 96, 64]."""
        columns = magnitudes(F.pad(padded, (0, REACH)), self.spectrum)
        logmel = torch.log(columns @ self.mel + self.floor)
        return logmel.unfold(1, PATCH, PATCH_HOP).transpose(2, 3)

    def score_patches(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and embeddings of the log-mels of segments [batch, K, 96, 64]."""
        integers = (patches * (1 / self.input_scale)).round().clamp(-128 - self.input_zero, 127 - self.input_zero)
        maps = self.layers(integers.flatten(0, 1).unsqueeze(1))
        pooled = (maps.sum((2, 3)) * self.mean_factor).round().clamp(0, LARGEST).unflatten(0, patches.shape[:2])
        logits = ((pooled @ self.weight.T + self.bias) * self.factor).round()
        logits = logits.clamp(-128 - self.logit_zero, 127 - self.logit_zero) * self.logit_scale
        scores = (torch.sigmoid(logits) * self.score_steps).round().clamp(0, LARGEST) / self.score_steps
        return scores, pooled * self.embedding_scale


def read_yamnet(path: Path) -> tuple[Yamnet8Bit, tuple[Label, ...]]:
    """YAMNet with the weights of its TFLite file, and its classes.

    Raises
    ------
    SedkitError
        If the file is not the published one, or LiteRT is not installed.
    """
    model = YamnetTflite(path)
    labels = named_labels(label.name for label in model.labels)
    network = Yamnet8Bit(len(labels)).eval()
    try:
        _load(network, model.interpreter)
    except (LookupError, ValueError, RuntimeError, StopIteration):
        raise ImportModelError(f"{path}: its layers differ from those of the published YAMNet; {REMEDY}") from None
    return network, labels


@torch.no_grad()
def _load(network: Yamnet8Bit, interpreter: Any) -> None:
    """Fill in the file's numbers. Its 8-bit tensors, in order: the log-mel; weights, biases and output per layer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        details = interpreter.get_tensor_details()
    for tensor in details:
        for name, own in (("mel_spectrogram", network.mel), ("add", network.floor)):
            if tensor["name"] == name:
                own.copy_(_tensor(interpreter.get_tensor(tensor["index"]).T, own))
    quantised = list(_quantised(interpreter, details))
    first = next(position for position, each in enumerate(quantised) if len(each.scales) > 1)  # before it: the log-mel
    tensors = iter(quantised[first - 1 :])
    source = next(tensors)
    network.input_scale, network.input_zero = float(source.scales[0]), source.zero
    for layer in network.layers:
        assert isinstance(layer, IntegerLayer)
        weight, bias, output = next(tensors), next(tensors), next(tensors)
        layer.load(source, weight, bias, output)
        source = output
    pooled, weight, bias, logits, scores = (next(tensors) for _ in range(5))
    positions = 3 * 2  # of the last maps
    network.mean_factor = float(source.scales[0] / np.float32(positions) / pooled.scales[0])
    network.embedding_scale = float(pooled.scales[0])
    network.weight.copy_(_tensor(weight.values, network.weight))
    network.bias.copy_(_tensor(bias.values, network.bias))
    network.factor.copy_(_tensor(pooled.scales * weight.scales / logits.scales, network.factor))
    network.logit_scale, network.logit_zero = float(logits.scales[0]), logits.zero
    network.score_steps = float(1 / scores.scales[0])


def _quantised(interpreter: Any, details: Iterable[Mapping[str, Any]]) -> Iterator[Quantised]:
    """The 8-bit tensors of the file in order, and biases; activations, whose values are not in the file, have none."""
    for tensor in details:
        parameters = tensor["quantization_parameters"]
        if len(parameters["scales"]):
            constant = len(parameters["scales"]) > 1 or tensor["dtype"] is np.int32
            values = interpreter.get_tensor(tensor["index"]) if constant else np.zeros(0)
            yield Quantised(values.astype(np.float32), parameters["scales"], int(parameters["zero_points"][0]))


def _tensor(values: NDArray[np.floating], like: Tensor) -> Tensor:
    """Values as a tensor of the shape of another."""
    return torch.from_numpy(np.array(values, np.float32)).reshape(like.shape)
