"""One network: the loss of Eq. 1, the learning rate, scores of whole recordings, normalisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.fit import TrainingError, cross_entropy, learning_rate_factor, load, measure_normalisation, predict, save
from training.wels import Network


def clip(samples: int, seed: int = 0) -> np.ndarray:
    return (3000 * np.random.default_rng(seed).standard_normal(samples)).astype(np.int16)


def test_the_loss_is_torchs_binary_cross_entropy_gradient_included() -> None:
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


def test_the_loss_survives_certainty_and_shows_nan() -> None:
    certain = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = cross_entropy(certain, torch.tensor([[1.0, 0.0]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(certain.grad).all()
    assert torch.isnan(cross_entropy(torch.tensor([[float("nan")]]), torch.ones(1, 1)))


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    rates = [learning_rate_factor(step / 100) for step in range(101)]
    assert max(rates) == pytest.approx(1)
    assert rates.index(max(rates)) == 10
    assert rates[0] < 0.02
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_scores_in_a_batch_are_those_of_each_clip_alone() -> None:
    torch.manual_seed(0)
    network = Network(4, width=1 / 16).eval()
    clips = [clip(length, seed) for seed, length in enumerate((16_000, 3, 40_000, 15_900, 80_000))]
    together = predict(network, clips, 8)
    alone = np.concatenate([predict(network, [each], 8) for each in clips])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_prediction_is_in_eval_mode() -> None:
    network = Network(4, width=1 / 16, dropout=0.5).train()
    before = network.wels.B1[0][1].running_mean.clone()
    np.testing.assert_array_equal(predict(network, [clip(16_000)], 8), predict(network, [clip(16_000)], 8))
    assert torch.equal(network.wels.B1[0][1].running_mean, before)


def test_normalisation_gives_zero_mean_and_unit_deviation_on_what_it_was_measured_on() -> None:
    network = Network(2, width=1 / 16)
    random = np.random.default_rng(0)
    clips = [(clip(32_000, seed) * random.uniform(0.001, 1)).astype(np.int16) for seed in range(4)]
    measure_normalisation(network, clips)
    normalised = torch.cat([network.frontend(torch.from_numpy(c / np.float32(32768))[None])[0, 0, 1:-4] for c in clips])
    assert normalised.mean(0).abs().max() < 0.1
    assert (normalised.std(0) - 1).abs().max() < 0.15


def test_normalisation_of_silence_does_not_blow_up() -> None:
    network = Network(2, width=1 / 16)
    measure_normalisation(network, [np.zeros(16_000, np.int16)])
    torch.testing.assert_close(network.frontend.std, torch.ones(64))


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no clips to score"):
        predict(Network(2, width=1 / 16), [], 8)


def test_what_is_saved_reads_back_and_damage_is_one_line(tmp_path: Path) -> None:
    state = {"network": {"weight": torch.arange(1000.0)}, "history": [{"epoch": 1, "validation_mAP": None}]}
    path = tmp_path / "checkpoint.pt"
    save(state, path)
    assert torch.equal(load(path)["network"]["weight"], state["network"]["weight"])
    assert load(path)["history"] == state["history"]
    whole = path.read_bytes()
    for damaged in (b"", b"half a checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"checkpoint\.pt: cannot be read .* remove it") as error:
            load(path)
        assert "\n" not in str(error.value)
