"""Optimiser steps: accumulation, gradient clipping, moving average, saved state, torch.compile."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from sedkit.contract import Label
from training.data.clips import Clips
from training.loop.batches import Epoch, Part
from training.loop.ema import MovingAverage
from training.loop.settings import Execution, Settings
from training.loop.trainer import Trainer
from training.networks.wels import Network
from training.supervision.equations import LABELS
from training.supervision.targets import Targets

CPU = torch.device("cpu")
SETTINGS = Settings(batch_size=8, crop=1.0, dropout=0.0, width=1 / 16)


def network(dropout: float = 0.0) -> Network:
    torch.manual_seed(0)
    made = Network(3, 1 / 16, dropout)
    made.frontend.mean.fill_(-30)
    made.frontend.std.fill_(15)
    return made


def batches(settings: Settings = SETTINGS, count: int = 24, **execution: int) -> list[list[Part]]:
    random = np.random.default_rng(0)
    waveforms = [(3000 * random.standard_normal(20_000)).astype(np.int16) for _ in range(count)]
    clips = Clips(waveforms, np.eye(3, dtype=np.float32)[np.arange(count) % 3], [Label(name) for name in "abc"])
    return list(Epoch(clips, Targets({LABELS: 1.0}, clips), settings, (0, 0, 1), Execution(CPU, **execution)).batches())


def losses_of(trainer: Trainer, batches: list[list[Part]], rate: float = 1e-3) -> list[float]:
    return [float(trainer.step(parts, rate)) for parts in batches]


def always_eval(network: Network) -> Network:
    """``network`` with fixed batch normalisation statistics, so that the clips of a batch are independent."""
    network.train = lambda mode=True: torch.nn.Module.train(network, False)
    return network


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_parts_give_the_whole_batchs_gradient(parts: int) -> None:
    whole, cut = (Trainer(always_eval(network()), SETTINGS, Execution(CPU, accumulate=n)) for n in (1, parts))
    losses = losses_of(whole, batches()), losses_of(cut, batches(accumulate=parts))
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for one, other in zip(whole.network.parameters(), cut.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_gradient_norm_is_clipped() -> None:
    for clip, smaller in ((0.0, False), (1e-3, True)):
        trainer = Trainer(network(), Settings(batch_size=8, crop=1.0, clip=clip), Execution(CPU))
        trainer.step(batches()[0], 1e-3)
        norm = torch.stack([p.grad.norm() for p in trainer.network.parameters()]).norm()
        assert (norm <= 1.001e-3) == smaller


def test_moving_average_lags_behind_and_is_the_result() -> None:
    settings = Settings(batch_size=8, crop=1.0, ema=0.9)
    trainer = Trainer(network(), settings, Execution(CPU))
    first = copy.deepcopy(trainer.network.state_dict())
    losses_of(trainer, batches())
    name = "wels.L4.weight"
    own, kept = trainer.network.state_dict(), trainer.result.state_dict()
    assert trainer.result is not trainer.network
    assert 0 < (kept[name] - first[name]).norm() < (own[name] - first[name]).norm()
    assert kept["wels.B1.0.1.num_batches_tracked"] == own["wels.B1.0.1.num_batches_tracked"] == 3
    assert not torch.equal(kept["wels.B1.0.1.running_var"], own["wels.B1.0.1.running_var"])
    torch.testing.assert_close(kept["frontend.mean"], first["frontend.mean"])


def test_moving_average_by_hand() -> None:
    layer = torch.nn.Linear(1, 1)
    average = MovingAverage(layer, 0.5)
    average.update(layer)
    assert torch.equal(average.network.weight, layer.weight)
    start = layer.weight.item()
    with torch.no_grad():
        layer.weight += 1
    average.update(layer)  # the decay of step 2 is 3 / 12
    assert average.network.weight.item() == pytest.approx(start + 0.75)


@pytest.mark.parametrize("settings", [SETTINGS, Settings(batch_size=8, crop=1.0, ema=0.9, dropout=0.5)])
def test_restored_trainer_continues_to_the_same_weights(settings: Settings) -> None:
    whole = Trainer(network(settings.dropout), settings, Execution(CPU))
    losses_of(whole, batches()[:1])
    state = copy.deepcopy(whole.state())
    losses_of(whole, batches()[1:])
    resumed = Trainer(network(settings.dropout), settings, Execution(CPU))
    resumed.restore(state)
    losses_of(resumed, batches()[1:])
    for name, value in whole.result.state_dict().items():
        assert torch.equal(value, resumed.result.state_dict()[name]), name


def test_dropout_does_not_depend_on_earlier_random_numbers() -> None:
    losses = []
    for drawn_before in (0, 7):
        trainer = Trainer(network(0.5), Settings(batch_size=8, crop=1.0, dropout=0.5), Execution(CPU))
        torch.rand(drawn_before)
        losses.append(losses_of(trainer, batches()))
    assert losses[0] == losses[1]


def test_memory_layout_does_not_change_the_loss() -> None:
    layouts = (Execution(CPU, channels_last=last) for last in (True, False))
    losses = [losses_of(Trainer(network(), SETTINGS, layout), batches()[:1]) for layout in layouts]
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_objective_is_a_single_graph_for_torch_compile() -> None:
    """With the eager backend, because code generation would take longer than all other tests."""
    plain, compiled = (Trainer(network(), SETTINGS, Execution(CPU)) for _ in range(2))
    compiled.objective.compile(backend="eager", dynamic=False, fullgraph=True)
    of = batches()[:2]
    np.testing.assert_allclose(losses_of(plain, of), losses_of(compiled, of), rtol=1e-5)


def test_weight_decay_shrinks_convolutions_only() -> None:
    settings = replace(SETTINGS, weight_decay=0.5)
    decayed, plain = (Trainer(network(), of, Execution(CPU)) for of in (settings, SETTINGS))
    for trainer in (decayed, plain):
        trainer.step(batches()[0], 0.1)
    first = dict(network().named_parameters())
    for name, value in plain.network.named_parameters():
        other = dict(decayed.network.named_parameters())[name]
        torch.testing.assert_close(other, value - 0.05 * first[name] if value.ndim > 1 else value)
