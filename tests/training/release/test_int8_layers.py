"""Int8 convolutions: equalisation keeps the function, GPTQ stays close to it."""

from __future__ import annotations

import pytest
import torch

from training.release.int8_layers import (
    COPIES,
    LIMIT,
    FineGrid,
    Grid,
    Layer,
    activation_ranges,
    equalise,
    nearest,
    parts,
    quantize_layers,
)


@pytest.fixture(scope="module")
def layers() -> list[Layer]:
    """Two convolutions, a pooling and one more convolution; the ranges of their channels differ widely."""
    random = torch.Generator().manual_seed(0)
    sizes = [(1, 6), (6, 8), (8, 5)]
    made = []
    for number, (inputs, filters) in enumerate(sizes):
        weight = torch.randn(filters, inputs, 3, 3, generator=random)
        weight *= torch.logspace(-1, 1, filters)[:, None, None, None]
        made.append(Layer(weight, torch.randn(filters, generator=random), padding=1, pool=2 if number == 1 else 1))
    return made


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    return torch.randn(12, 1, 24, 16, generator=torch.Generator().manual_seed(1))


def chain(layers, x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x = layer(x)
    return x


def test_a_grid_contains_zero_and_its_ends():
    grid = Grid.spanning(-1.0, 3.0)
    values = grid(torch.tensor([-1.0, 0.0, 3.0, 9.0, -9.0]))
    assert values[1] == 0
    torch.testing.assert_close(values[[0, 2]], torch.tensor([-1.0, 3.0]), atol=grid.scale, rtol=0)
    assert values[3] == values[2]
    x = torch.linspace(-1, 3, 1001)
    assert (grid(x) - x).abs().max() <= 0.51 * grid.scale


def test_the_fine_grid_is_sixteen_times_finer():
    x = torch.linspace(-1, 3, 1001)
    fine = FineGrid.spanning(-1.0, 3.0)
    assert (fine(x) - x).abs()[8:-8].max() <= 0.51 * fine.scale / 16


def test_equalisation_keeps_the_function(layers, clips):
    ranges = activation_ranges(layers, clips)
    made, scaled = equalise(layers, ranges)
    expected = chain(layers, clips)
    torch.testing.assert_close(chain(made, clips), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())
    for before, after in zip(ranges[1:-1], scaled[1:-1], strict=True):
        assert after.max() / after.min() < 1.01 * (before.max() / before.min()).sqrt()
    torch.testing.assert_close(scaled[-1], ranges[-1])


def test_seven_bit_parts_add_up():
    steps = torch.arange(-LIMIT * COPIES, LIMIT * COPIES + 1.0)
    whole, rest = parts(steps)
    torch.testing.assert_close(sum(whole), steps)
    assert max(part.abs().max() for part in (*whole, rest)) <= LIMIT


def test_gptq_beats_rounding_to_the_nearest(layers, clips):
    made, _ = quantize_layers(layers, clips)
    expected = chain(layers, clips)
    assert all(torch.equal(layer.steps, layer.steps.round()) for layer in made)
    assert made[0].steps.abs().max() <= LIMIT * COPIES
    assert max(layer.steps.abs().max() for layer in made[1:]) <= LIMIT
    found = (chain(made, clips) - expected).square().mean()
    plain = []
    for layer in layers:
        flat = layer.weight.flatten(1)
        scale = flat.abs().amax(1) / LIMIT
        weight = (nearest(flat, scale, LIMIT) * scale[:, None]).view_as(layer.weight)
        plain.append(Layer(weight, layer.bias, layer.padding, layer.pool))
    assert found < 0.5 * (chain(plain, clips) - expected).square().mean()  # even without rounded activations
    assert found < 1e-3 * expected.square().mean()


def test_the_same_clips_give_the_same_integers(layers, clips):
    first, second = (quantize_layers(layers, clips)[0] for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.steps, other.steps)
        assert torch.equal(one.bias, other.bias)
