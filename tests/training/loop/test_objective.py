"""Eq. 1, and the augmentation applied before it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.data.augment.augmentation import Augmentation
from training.loop.objective import Batch, Objective, cross_entropy
from training.loop.settings import Settings
from training.networks.wels import Network


def test_loss_and_gradient_equal_torchs_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    targets = torch.rand(6, 5)
    ours = torch.rand(6, 5).sub(0.5).mul(8).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    cross_entropy(torch.sigmoid(ours), targets).backward()
    F.binary_cross_entropy(torch.sigmoid(theirs), targets).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(
        cross_entropy(torch.sigmoid(ours), targets), F.binary_cross_entropy(torch.sigmoid(theirs), targets)
    )


def test_loss_is_finite_for_probabilities_of_0_and_1_and_nan_for_nan() -> None:
    probabilities = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = cross_entropy(probabilities, torch.tensor([[1.0, 0.0]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(probabilities.grad).all()
    assert torch.isnan(cross_entropy(torch.tensor([[float("nan")]]), torch.ones(1, 1)))


def batch(augmentation: Augmentation, clips: int = 6) -> Batch:
    random = np.random.default_rng(0)
    draws = augmentation.draw(clips, 96, 64, random)
    waveform = torch.from_numpy(random.integers(-9000, 9000, (clips, 15_360)).astype(np.int16))
    targets = torch.from_numpy(random.random((clips, 3)).astype(np.float32))
    drawn = (draws.levels, draws.shares, draws.frames, draws.bands, draws.responses, draws.styles, draws.speeds)
    return Batch(waveform, targets, *(torch.from_numpy(array) for array in drawn))


NONE = Augmentation(0, 0, 0, 0, 0)


def test_without_augmentation_the_objective_is_the_networks_loss() -> None:
    torch.manual_seed(0)
    network = Network(3, 1 / 16).eval()
    given = batch(NONE)
    expected = cross_entropy(network(given.waveform.float() / 32768).clip, given.targets)
    torch.testing.assert_close(Objective(network, "float32", 15_360)(given), expected)


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
