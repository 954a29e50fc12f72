"""Eq. 1, and the augmentation applied before it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.data.augment.augmentation import Augmentation
from training.loop.batches import OBJECTIVE_DRAWS
from training.loop.objective import Batch, Objective, cross_entropy, mix_known
from training.loop.settings import Settings
from training.networks.wels import Network, Segments, pool


def segments(logits: torch.Tensor, audible: torch.Tensor | None = None) -> Segments:
    ones = torch.ones_like(logits[..., :1])
    return Segments(logits, ones, ones, ones if audible is None else audible)


def test_loss_and_gradient_equal_torchs_binary_cross_entropy_of_the_clip_score() -> None:
    torch.manual_seed(0)
    targets, audible = torch.rand(6, 5), (torch.rand(6, 4, 1) < 0.7).float()
    audible[:, 0] = 1
    ours = torch.randn(6, 4, 5).mul(4).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    loss = cross_entropy(segments(ours, audible), targets)
    expected = F.binary_cross_entropy(pool(segments(theirs, audible)).clip, targets)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_loss_of_segment_targets_leaves_out_silent_segments() -> None:
    torch.manual_seed(0)
    targets, audible, logits = torch.rand(2, 3, 5), torch.ones(2, 3, 1), torch.randn(2, 3, 5, requires_grad=True)
    audible[0, 1] = 0
    loss = cross_entropy(segments(logits, audible), targets)
    expected = F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * audible
    torch.testing.assert_close(loss, expected.mean())
    loss.backward()
    assert not logits.grad[0, 1].any()
    assert logits.grad[0, 0].any()


def test_a_positive_with_a_score_of_almost_0_still_has_a_gradient() -> None:
    """Clamping the probability to 1e-7 would make it 0 where learning is needed most."""
    logits = torch.full((1, 4, 1), -40.0, requires_grad=True)
    loss = cross_entropy(segments(logits), torch.ones(1, 1))
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(40.0))
    torch.testing.assert_close(logits.grad, torch.full((1, 4, 1), -0.25))


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_a_silent_clip_has_neither_loss_nor_gradient_and_nan_gives_nan(pooling: str) -> None:
    torch.manual_seed(0)
    network = Network(3, 1 / 16, pooling=pooling).eval()
    given = batch(NONE)
    objective = Objective(network, "float32", 15_360)
    silent = given._replace(waveform=torch.zeros_like(given.waveform))
    loss = objective(silent)
    loss.backward()
    assert loss == 0
    assert all(not weight.grad.any() for weight in network.parameters() if weight.grad is not None)
    assert cross_entropy(segments(torch.full((1, 1, 1), torch.nan)), torch.ones(1, 1)).isnan()


def test_unknown_targets_do_not_count_and_known_ones_weigh_the_same() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 4, requires_grad=True), torch.rand(2, 4)
    whole = cross_entropy(segments(logits), targets)
    partly = targets.clone()
    partly[0, 1] = torch.nan
    loss = cross_entropy(segments(logits), partly)
    left_out = cross_entropy(segments(logits[:1, :, 1:2]), targets[:1, 1:2])
    torch.testing.assert_close(loss, whole - left_out / 8)
    loss.backward()
    assert not logits.grad[0, :, 1].any()
    assert logits.grad[1, :, 1].any()


def test_a_mixture_with_an_unknown_label_is_unknown_for_that_class() -> None:
    labels = torch.tensor([[1.0, torch.nan], [0.0, 1.0], [torch.nan, 0.0], [0.0, 0.0]])
    mixed = mix_known(labels, torch.tensor([0.75, 0.75, 1.0, 1.0]))
    expected = torch.tensor([[0.75, torch.nan], [0.25, torch.nan], [torch.nan, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(mixed, expected, equal_nan=True)


def batch(augmentation: Augmentation, clips: int = 6) -> Batch:
    random = np.random.default_rng(0)
    draws = augmentation.draw(clips, 96, 64, random)
    waveform = torch.from_numpy(random.integers(-9000, 9000, (clips, 15_360)).astype(np.int16))
    targets = torch.from_numpy(random.random((clips, 3)).astype(np.float32))
    drawn = {name: torch.from_numpy(getattr(draws, name)) for name in OBJECTIVE_DRAWS}
    return Batch(waveform, targets, **drawn)


NONE = Augmentation(0, 0, 0, 0, 0)


def test_without_augmentation_the_objective_is_the_networks_loss() -> None:
    torch.manual_seed(0)
    network = Network(3, 1 / 16).eval()
    given = batch(NONE)
    expected = F.binary_cross_entropy(network(given.waveform.float() / 32768).clip, given.targets)
    torch.testing.assert_close(Objective(network, "float32", 15_360)(given), expected)


@pytest.mark.parametrize("gate", [True, False])
def test_the_objective_is_that_of_the_scores_in_gaps_and_padding(gate: bool) -> None:
    """What trains is what validation, teachers and the export score."""
    torch.manual_seed(0)
    network = Network(3, 1 / 16, gate=gate).eval()
    waveform = torch.zeros(2, 96_000, dtype=torch.int16)
    waveform[:, :20_000] = torch.randint(-9000, 9000, (2, 20_000))
    waveform[1, 60_000:70_000] = torch.randint(-9000, 9000, (10_000,))
    given = batch(NONE, 2)._replace(waveform=waveform)
    expected = F.binary_cross_entropy(network(waveform.float() / 32768).clip, given.targets)
    torch.testing.assert_close(Objective(network, "float32", 96_000)(given), expected)


@pytest.mark.parametrize(
    "changed",
    [
        {"gain": 6.0},
        {"mixup": 0.4, "mixed": 1.0},
        {"time_mask": 24},
        {"band_mask": 8},
        {"response": 6.0},
        {"narrow": 1.0},
        {"style": 1.0},
    ],
)
def test_each_augmentation_changes_the_loss(changed: dict[str, float]) -> None:
    torch.manual_seed(0)
    objective = Objective(Network(3, 1 / 16).eval(), "float32", 15_360)
    steps = {"gain": 0.0, "mixup": 0.0, "mixed": 0.0, "time_mask": 0, "band_mask": 0}
    assert objective(batch(Augmentation(**steps | changed))) != objective(batch(NONE))


def test_speed_uses_the_extra_samples_read() -> None:
    torch.manual_seed(0)
    settings = Settings(crop=0.96, augmentation=Augmentation(0, 0, 0, 0, 0, speed=0.25))
    assert (settings.samples, settings.samples_read) == (15_360, 19_200)
    objective = Objective(Network(3, 1 / 16).eval(), "float32", settings.samples)
    given = batch(settings.augmentation)
    waveform = torch.from_numpy(
        np.random.default_rng(1).integers(-9000, 9000, (6, settings.samples_read)).astype(np.int16)
    )
    assert 0.8 <= given.speeds.min() < 1 < given.speeds.max() <= 1.25
    same = torch.ones_like(given.speeds)
    expected = objective(given._replace(waveform=waveform[:, : settings.samples], speeds=same))
    torch.testing.assert_close(objective(given._replace(waveform=waveform, speeds=same)), expected)
    assert objective(given._replace(waveform=waveform)) != expected


def test_bf16_is_close_to_float32_and_returns_a_float32_loss() -> None:
    torch.manual_seed(0)
    network = Network(3, 1 / 16).eval()
    losses = [Objective(network, precision, 15_360)(batch(NONE)) for precision in ("float32", "bf16")]
    assert losses[1].dtype == torch.float32
    assert losses[0] != losses[1]
    torch.testing.assert_close(*losses, rtol=0.02, atol=0.02)
    losses[1].backward()
    assert all(p.grad.dtype == torch.float32 for p in network.parameters())
