"""A chain of convolutions on 8-bit integers that stays close to itself in float32.

The integers are those that the x86 instructions without VNNI multiply without saturating: activations from 0 to 255,
weights from -64 to 64. Three things keep what they compute close to the original:

- **Equal channels.** ReLU lets a factor through, so a channel may be scaled if the next layer's weights undo it
  (Nagel et al., Data-Free Quantization, 2019, section 4.1). Channels then fill the range that they share.
- **Rounding layer by layer**, so that the error of a weight is made up for by the weights that are not rounded yet, on
  what the layer really gets from the rounded layers before it (Frantar et al., GPTQ, 2023, algorithm 1).
- **A finer first layer.** It sees one channel, through 9 weights a filter, and what it loses is lost for all others.
  Its input is handed over twice, rounded and the rest enlarged, and its weights as the sum of four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 255  # of an activation, zero not counted
LIMIT = 64  # largest weight
COPIES = 4  # the first layer's weights are sums of so many
FINENESS = 16  # and its input's rest is enlarged so many times
HELD = 0.999  # share of the clips whose values a range holds
DAMPING = 0.01  # GPTQ, section 3.3
COLUMNS = 24_000  # places of a layer's input that its weights are fitted to, at least
CHUNK = 8  # clips computed at once


@dataclass(frozen=True)
class Layer:
    """A convolution and the ReLU after it; where ``pool`` > 1, a maximum over squares of that side follows."""

    weight: Tensor  # [filters, channels, height, width]
    bias: Tensor  # [filters]
    padding: int
    pool: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        x = F.relu(F.conv2d(x, self.weight, self.bias, padding=self.padding))
        return F.max_pool2d(x, self.pool) if self.pool > 1 else x


@dataclass(frozen=True)
class Grid:
    """8-bit numbers: ``q`` stands for ``scale * (q - zero)``."""

    scale: float
    zero: int

    @classmethod
    def spanning(cls, least: float, most: float) -> Self:
        least, most = min(least, 0.0), max(most, 1e-6)
        scale = (most - least) / LEVELS
        return cls(scale, round(-least / scale))

    def __call__(self, x: Tensor) -> Tensor:
        """The nearest numbers that the grid has."""
        return (torch.clamp(torch.round(x / self.scale) + self.zero, 0, LEVELS) - self.zero) * self.scale


class FineGrid(Grid):
    """Two numbers of a grid for one: itself, and ``FINENESS`` times what it lacks."""

    def __call__(self, x: Tensor) -> Tensor:
        rough = super().__call__(x)
        return rough + super().__call__((x - rough) * FINENESS) / FINENESS


@dataclass(frozen=True)
class Rounded:
    """A layer in integers: its weights are ``steps * scales``, its input lies on ``grid``."""

    layer: Layer
    steps: Tensor  # [filters, channels, height, width], whole numbers
    scales: Tensor  # [filters]
    bias: Tensor  # [filters]
    grid: Grid

    def __call__(self, x: Tensor) -> Tensor:
        weight = self.steps * self.scales[:, None, None, None]
        return replace(self.layer, weight=weight, bias=self.bias)(self.grid(x))


Pairs = Iterator[tuple[Tensor, Tensor]]  # what a layer takes or gives, exactly and after rounded layers


@torch.no_grad()
def rounded(
    layers: Sequence[Layer], clips: Tensor, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Rounded], Grid]:
    """The layers in integers, fitted to ``clips`` [clips, 1, frames, bands] of what the first takes; the last's output.

    Activations are kept after pools alone and computed again in between: they would take much memory.
    """
    layers, ranges = equalised(layers, measured(layers, clips))
    grids: list[Grid] = [FineGrid.spanning(float(clips.min()), float(clips.max()))]
    grids += [Grid.spanning(0.0, float(channels.max())) for channels in ranges[1:]]
    made: list[Rounded] = []
    exact = coarse = clips
    begin = 0  # the first layer after the last pool
    for number, layer in enumerate(layers):
        progress(number, len(layers))
        inputs = through(layers[begin:], made[begin:], exact, coarse)
        made.append(fit(layer, grids[number], inputs, len(clips), LIMIT * COPIES if number == 0 else LIMIT))
        if layer.pool > 1:
            outputs = list(through(layers[begin:], made[begin:], exact, coarse))
            exact, coarse = (torch.cat(part) for part in zip(*outputs, strict=True))
            begin = number + 1
    progress(len(layers), len(layers))
    return made, grids[-1]


def through(layers: Sequence[Layer], made: Sequence[Rounded], exact: Tensor, coarse: Tensor) -> Pairs:
    """Both through as many layers as there are rounded ones, a few clips at a time."""
    for x, y in zip(exact.split(CHUNK), coarse.split(CHUNK), strict=True):
        for layer, other in zip(layers, made, strict=False):
            x, y = layer(x), other(y)
        yield x, y


def measured(layers: Sequence[Layer], clips: Tensor) -> list[Tensor]:
    """The range of every channel of every layer's input, and of the last one's output: from 0 to this.

    It holds all values of all but a few clips. What one clip alone has is cut, so that the others get finer steps.
    """
    largest: list[list[Tensor]] = [[] for _ in range(len(layers) + 1)]  # [clips, channels] each, in pieces
    for x in clips.split(CHUNK):
        for held, layer in zip(largest, [*layers, None], strict=True):
            held.append(x.amax((2, 3)))
            x = layer(x) if layer else x
    return [torch.cat(held).quantile(HELD, 0) for held in largest]


def equalised(layers: Sequence[Layer], ranges: Sequence[Tensor]) -> tuple[list[Layer], list[Tensor]]:
    """The same function with channels of more equal range between its layers, and those ranges.

    A channel is scaled by the root of what it lacks: weights have to be rounded, too. The last layer's output stays.
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


def fit(layer: Layer, grid: Grid, inputs: Pairs, clips: int, limit: int) -> Rounded:
    """One layer's weights, rounded for the inputs that it has been left with."""
    taps = layer.weight[0].numel()
    share = -(-max(COLUMNS, 8 * taps) // -(-clips // CHUNK))  # of the places, for each of the inputs
    products = torch.zeros(taps + 1, taps + 1, dtype=torch.float64)  # of what the weights, and the bias, multiply
    shift = torch.zeros(taps, dtype=torch.float64)
    seed = count = 0
    for exact, coarse in inputs:
        wanted, given = (columns(layer, x, share, seed) for x in (exact, grid(coarse)))
        given = F.pad(given, (0, 1), value=1.0)
        products += (given.T @ given).double()
        shift += (wanted - given[:, :-1]).sum(0).double()
        seed, count = seed + 1, count + share
    products /= count
    weight = layer.weight.flatten(1).double()
    scales = scales_of(weight, products.diagonal()[:-1], limit)
    bias = layer.bias.double() + weight @ (shift / count)
    steps, bias = gptq(weight, bias, scales, products, limit)
    return Rounded(layer, steps.view_as(layer.weight).float(), scales.float(), bias.float(), grid)


def columns(layer: Layer, x: Tensor, count: int, seed: int) -> Tensor:
    """[count, channels * height * width]: what the weights are multiplied with, at places drawn at random."""
    height, width = layer.weight.shape[2:]
    x = F.pad(x, [layer.padding] * 4)
    rows, bands = x.shape[2] - height + 1, x.shape[3] - width + 1
    places = torch.randint(len(x) * rows * bands, (count,), generator=torch.Generator().manual_seed(seed))
    clip, row, band = places // (rows * bands), places // bands % rows, places % bands
    taps = [x[clip, :, row + down, band + right] for down in range(height) for right in range(width)]
    return torch.stack(taps, 2).flatten(1)


def scales_of(weight: Tensor, power: Tensor, limit: int) -> Tensor:
    """Scale of each filter at which rounding its weights costs least, weighted with the power of what they multiply."""
    widest = weight.abs().amax(1).clamp_min(1e-12)
    scales = torch.stack([widest * factor / limit for factor in torch.linspace(1, 0.6, 21).tolist()])
    errors = [((weight - nearest(weight, scale, limit) * scale[:, None]).square() * power).sum(1) for scale in scales]
    return scales[torch.stack(errors).argmin(0), torch.arange(len(weight))]


def nearest(weight: Tensor, scale: Tensor, limit: int) -> Tensor:
    return torch.clamp(torch.round(weight / scale[:, None]), -limit, limit)


def gptq(weight: Tensor, bias: Tensor, scale: Tensor, products: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Round weights [filters, taps] one tap after the other; those to come, and the bias, make up for the error.

    ``products`` [taps + 1, taps + 1] are mean products of the inputs, the last of which is the bias's 1.
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
    """The first layer's weights as ``COPIES`` of 7 bits that add up to them, and the weights of the input's rest."""
    return [torch.floor((steps + copy) / COPIES) for copy in range(COPIES)], torch.round(steps / FINENESS)
