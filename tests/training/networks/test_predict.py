"""Clip scores do not depend on batches, ranks or training mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.networks.predict import ScoreError, predict, predict_share
from training.networks.wels import Network


def clip(samples: int, seed: int = 0) -> np.ndarray:
    return (3000 * np.random.default_rng(seed).standard_normal(samples)).astype(np.int16)


CLIPS = [clip(length, seed) for seed, length in enumerate((16_000, 3, 40_000, 15_900, 80_000))]


def test_scores_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = Network(4, width=1 / 16).eval()
    batched = predict(network, CLIPS, 8)
    single = np.concatenate([predict(network, [each], 8) for each in CLIPS])
    np.testing.assert_allclose(batched, single, atol=1e-6)


def test_ranks_partition_the_clips() -> None:
    torch.manual_seed(0)
    network = Network(4, width=1 / 16).eval()
    shares = [predict_share(network, CLIPS, 1, rank=rank, ranks=3) for rank in range(3)]
    assert (np.count_nonzero([share.any(1) for share in shares], axis=0) == 1).all()
    np.testing.assert_array_equal(sum(shares), predict(network, CLIPS, 1))


def test_predict_runs_in_eval_mode() -> None:
    network = Network(4, width=1 / 16, dropout=0.5).train()
    before = network.wels.B1[0][1].running_mean.clone()
    np.testing.assert_array_equal(predict(network, [clip(16_000)], 8), predict(network, [clip(16_000)], 8))
    assert torch.equal(network.wels.B1[0][1].running_mean, before)


def test_predict_without_clips_is_an_error() -> None:
    with pytest.raises(ScoreError, match="no clips to score"):
        predict(Network(2, width=1 / 16), [], 8)


def test_scores_that_are_not_finite_are_an_error() -> None:
    network = Network(2, width=1 / 16)
    torch.nn.init.constant_(network.wels.L4.bias, float("nan"))
    with pytest.raises(ScoreError, match="not finite"):
        predict(network, [clip(16_000)], 8)
