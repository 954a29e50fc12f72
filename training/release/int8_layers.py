"""Quantizes a chain of convolutions to int8 after training: calibration of ranges, and rounding of weights (GPTQ).

``quantize_layers`` quantizes the layers; ``activation_ranges`` measures the ranges of their activations, on calibration
clips that pass through the float32 layers. GPTQ uses the same clips. ``training.release.quantize`` draws the clips and
builds the ONNX graph.

Activations are integers from 0 to 255, weights from -64 to 64. x86 instructions without VNNI multiply these without
saturating. Three methods keep the result close to float32:

- **Cross-layer equalisation.** ReLU commutes with positive factors, so a channel can be scaled if the next layer's
  weights undo it (Nagel et al., Data-Free Quantization, 2019, section 4.1). Channels then fill the range they share.
- **GPTQ.** Weights are rounded one at a time, layer by layer. The weights that are not rounded yet compensate the error
  on the layer's actual input, which comes from the rounded layers before it (Frantar et al., 2023, algorithm 1).
- **A finer first layer.** It has one input channel and 9 weights per filter, or 4, and all later layers depend on it.
  Its input is passed as rounded value and amplified remainder, its weights as a sum of four 7-bit tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 255  # largest activation
LIMIT = 64  # largest weight
COPIES = 4  # number of 7-bit tensors that add up to the first layer's weights
FINENESS = 16  # amplification of the remainder of the first layer's input
QUANTILE = 0.999  # share of the clips whose activations a range covers
DAMPING = 0.01  # GPTQ, section 3.3
MIN_PATCHES = 24_000  # minimum number of input patches, from all clips, to which a layer's weights are fitted
CHUNK = 8  # clips per batch


@dataclass(frozen=True)
class Layer:
    """Convolution, ReLU and, if ``pool`` > 1, max pooling over ``pool`` x ``pool``."""

    weight: Tensor  # [filters, channels, height, width]
    bias: Tensor  # [filters]
    padding: int
    pool: int = 1
    stride: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.weight, self.bias, self.stride, self.padding))
        return F.max_pool2d(x, self.pool) if self.pool > 1 else x


@dataclass(frozen=True)
class Grid:
    """A grid of 8-bit numbers: integer ``q`` represents ``scale * (q - zero)``."""

    scale: float
    zero: int

    @classmethod
    def spanning(cls, least: float, most: float) -> Self:
        """The grid over a range, widened to contain 0."""
        least, most = min(least, 0.0), max(most, 1e-6)
        scale = (most - least) / LEVELS
        return cls(scale, round(-least / scale))

    def __call__(self, x: Tensor) -> Tensor:
        """Round to the nearest numbers on the grid."""
        return (torch.clamp(torch.round(x / self.scale) + self.zero, 0, LEVELS) - self.zero) * self.scale


class FineGrid(Grid):
    """A grid with two numbers per value: the rounded value, and its remainder times ``FINENESS``, rounded too."""

    def __call__(self, x: Tensor) -> Tensor:
        """Round to the nearest sums of the two."""
        rough = super().__call__(x)
        return rough + super().__call__((x - rough) * FINENESS) / FINENESS


@dataclass(frozen=True)
class QuantizedLayer:
    """A layer in integers: its weights are ``steps * scales``, its input is rounded to ``grid``."""

    layer: Layer
    steps: Tensor  # [filters, channels, height, width], whole numbers
    scales: Tensor  # [filters]
    bias: Tensor  # [filters]
    grid: Grid

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.steps * self.scales[:, None, None, None]
        return replace(self.layer, weight=weight, bias=self.bias)(self.grid(x))


Pairs = Iterator[tuple[Tensor, Tensor]]  # the same activations in float32 and after quantized layers


@torch.no_grad()
def quantize_layers(
    layers: Sequence[Layer], clips: Tensor, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[QuantizedLayer], Grid]:
    """Quantize a chain of layers.

    Parameters
    ----------
    clips : [clips, 1, frames, bands], inputs of the first layer, for calibration: both ranges and GPTQ use them.
    progress : called with the number of layers done and their total.

    Returns
    -------
    The layers in integers, and the grid of the last one's output.

    Notes
    -----
    Activations are stored only after pooling and recomputed in between, to save memory.
    """
    layers, ranges = equalise(layers, activation_ranges(layers, clips))
    grids: list[Grid] = [FineGrid.spanning(float(clips.min()), float(clips.max()))]
    grids += [Grid.spanning(0.0, float(channels.max())) for channels in ranges[1:]]
    quantized: list[QuantizedLayer] = []
    exact = coarse = clips
    begin = 0  # the first layer after the last pooling
    for number, layer in enumerate(layers):
        progress(number, len(layers))
        inputs = forward_both(layers[begin:], quantized[begin:], exact, coarse)
        quantized.append(
            quantize_layer(layer, grids[number], inputs, len(clips), LIMIT * COPIES if number == 0 else LIMIT)
        )
        if layer.pool > 1:
            outputs = list(forward_both(layers[begin:], quantized[begin:], exact, coarse))
            exact, coarse = (torch.cat(part) for part in zip(*outputs, strict=True))
            begin = number + 1
    progress(len(layers), len(layers))
    return quantized, grids[-1]


def forward_both(layers: Sequence[Layer], quantized: Sequence[QuantizedLayer], exact: Tensor, coarse: Tensor) -> Pairs:
    """Pass ``exact`` through ``layers`` and ``coarse`` through ``quantized``, as far as that goes, in small batches."""
    for x, y in zip(torch.split(exact, CHUNK), torch.split(coarse, CHUNK), strict=True):
        for layer, quantized_layer in zip(layers, quantized, strict=False):
            x, y = layer(x), quantized_layer(y)
        yield x, y


def activation_ranges(layers: Sequence[Layer], clips: Tensor) -> list[Tensor]:
    """The upper end of every channel's range, [channels] per layer input and for the last layer's output.

    It is a quantile over clips of their largest activation: outliers in single clips are clipped, which leaves finer
    steps for the others.
    """
    largest: list[list[Tensor]] = [[] for _ in range(len(layers) + 1)]  # batches of [clips, channels]
    for x in torch.split(clips, CHUNK):
        for batches, layer in zip(largest, [*layers, None], strict=True):
            batches.append(x.amax((2, 3)))
            x = layer(x) if layer else x
    return [torch.cat(batches).quantile(QUANTILE, 0) for batches in largest]


def equalise(layers: Sequence[Layer], ranges: Sequence[Tensor]) -> tuple[list[Layer], list[Tensor]]:
    """Cross-layer equalisation: the same function with more equal channels, and the new ranges.

    A channel is scaled by the square root of the factor that it lacks, a compromise with the range of the weights. The
    last layer's output is not scaled.
    """
    layers, ranges = list(layers), list(ranges)
    for number in range(1, len(layers)):
        factor = (ranges[number] / ranges[number].max().clamp_min(1e-6)).clamp(1e-4, 1).rsqrt()
        before, after = layers[number - 1], layers[number]
        scaled = before.weight * factor[:, None, None, None]
        layers[number - 1] = replace(before, weight=scaled, bias=before.bias * factor)
        layers[number] = replace(after, weight=after.weight / factor[:, None, None])
        ranges[number] = ranges[number] * factor
    return layers, ranges


def quantize_layer(layer: Layer, grid: Grid, inputs: Pairs, clips: int, limit: int) -> QuantizedLayer:
    """Round one layer's weights for its actual inputs, which come from quantized layers.

    The mean difference of the inputs from float32 goes into the bias.
    """
    taps = layer.weight[0].numel()
    count = -(-max(MIN_PATCHES, 8 * taps) // -(-clips // CHUNK))  # patches per batch
    products = torch.zeros(taps + 1, taps + 1, dtype=torch.float64)  # of patches with a 1 for the bias
    shift = torch.zeros(taps, dtype=torch.float64)
    seed = total = 0
    for exact, coarse in inputs:
        reference, actual = (patches(layer, x, count, seed) for x in (exact, grid(coarse)))
        actual = F.pad(actual, (0, 1), value=1.0)
        products += (actual.T @ actual).double()
        shift += (reference - actual[:, :-1]).sum(0).double()
        seed, total = seed + 1, total + count
    products /= total
    weight = layer.weight.flatten(1).double()
    scales = best_scales(weight, products.diagonal()[:-1], limit)
    bias = layer.bias.double() + weight @ (shift / total)
    steps, bias = gptq(weight, bias, scales, products, limit)
    return QuantizedLayer(layer, steps.view_as(layer.weight).float(), scales.float(), bias.float(), grid)


def patches(layer: Layer, x: Tensor, count: int, seed: int) -> Tensor:
    """Input patches of a convolution at random positions, [count, channels * height * width]."""
    height, width = layer.weight.shape[2:]
    x = F.pad(x, [layer.padding] * 4)
    rows, bands = (x.shape[2] - height) // layer.stride + 1, (x.shape[3] - width) // layer.stride + 1
    positions = torch.randint(len(x) * rows * bands, (count,), generator=torch.Generator().manual_seed(seed))
    clip = positions // (rows * bands)
    row, band = positions // bands % rows * layer.stride, positions % bands * layer.stride
    taps = [x[clip, :, row + down, band + right] for down in range(height) for right in range(width)]
    return torch.stack(taps, 2).flatten(1)


def best_scales(weight: Tensor, power: Tensor, limit: int) -> Tensor:
    """Scale of each filter with the least rounding error of its weights, weighted by ``power`` of their inputs."""
    widest = weight.abs().amax(1).clamp_min(1e-12)
    scales = torch.stack([widest * factor / limit for factor in torch.linspace(1, 0.6, 21).tolist()])
    errors = [((weight - nearest(weight, scale, limit) * scale[:, None]).square() * power).sum(1) for scale in scales]
    return scales[torch.stack(errors).argmin(0), torch.arange(len(weight))]


def nearest(weight: Tensor, scale: Tensor, limit: int) -> Tensor:
    """Weights in steps of ``scale``, rounded to the nearest integer within ``limit``."""
    return torch.clamp(torch.round(weight / scale[:, None]), -limit, limit)


def gptq(weight: Tensor, bias: Tensor, scale: Tensor, products: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """GPTQ: round weights one tap at a time; the remaining taps and the bias compensate the error.

    Parameters
    ----------
    weight : [filters, taps].
    bias, scale : [filters].
    products : [taps + 1, taps + 1], mean products of the inputs; the last input is the 1 of the bias.
    limit : largest integer.

    Returns
    -------
    Integers [filters, taps], and the new bias [filters].
    """
    taps = weight.shape[1]
    power = products.diagonal()[:-1]
    order = torch.cat([power.argsort(descending=True), torch.tensor([taps])])
    damped = products.clone()
    damped.diagonal()[:-1] += DAMPING * power.mean() + 1e-12
    inverse = torch.linalg.inv(damped[order][:, order])
    upper = torch.linalg.cholesky(inverse, upper=True)
    left = torch.cat([weight, bias[:, None]], 1)[:, order]
    for tap in range(taps):
        step = torch.clamp(torch.round(left[:, tap] / scale), -limit, limit)
        error = (left[:, tap] - step * scale) / upper[tap, tap]
        left[:, tap:] -= error[:, None] * upper[tap, tap:]
        left[:, tap] = step
    return left[:, order.argsort()][:, :-1], left[:, -1]


def parts(steps: Tensor) -> tuple[list[Tensor], Tensor]:
    """The first layer's weights as ``COPIES`` 7-bit tensors that add up to them, and the weights of the remainder."""
    return [torch.floor((steps + copy) / COPIES) for copy in range(COPIES)], torch.round(steps / FINENESS)
