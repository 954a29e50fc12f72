"""Logistic regression from another network's features to the classes of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Device = torch.device | str


@dataclass(frozen=True)
class Regression:
    """Logistic regressions of all classes: features [clips, n] → probabilities [clips, classes].

    Attributes
    ----------
    mean, spread : [n], mean and standard deviation of the features that it was fitted to.
    weight, offset : [n, classes] and [classes], for standardised features.
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        logits = (features - self.mean) / self.spread @ self.weight + self.offset
        return np.asarray(1 / (1 + np.exp(-logits)))


def fit_regression(
    features: NDArray[np.float64], targets: NDArray[np.float32], strength: float, device: Device = "cpu"
) -> Regression:
    """Fit the regressions of all classes to ``features`` [clips, n] and ``targets`` [clips, classes].

    Targets that are NaN (unknown) do not count. The regressions minimise the cross-entropy, summed over clips, plus
    ``strength`` / 2 times the squared weights, by L-BFGS. 0.01
    is added to the features' standard deviations.
    """
    mean, spread = features.mean(0), features.std(0) + 0.01
    inputs = torch.from_numpy((features - mean) / spread).float().to(device)
    wanted = torch.from_numpy(targets).float().to(device)
    known = wanted.isfinite().float()
    wanted = wanted.nan_to_num()
    weight = torch.zeros(features.shape[1], targets.shape[1], device=device, requires_grad=True)
    offset = torch.full((targets.shape[1],), -3.0, device=device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, offset], max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-7)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        entropy = F.binary_cross_entropy_with_logits(inputs @ weight + offset, wanted, known, reduction="sum")
        value: torch.Tensor = (entropy + strength / 2 * weight.square().sum()) / len(inputs)
        value.backward()
        return value

    optimiser.step(closure)
    return Regression(mean, spread, *(one.detach().cpu().double().numpy() for one in (weight, offset)))


def cross_fitted(
    features: NDArray[np.float64],
    targets: NDArray[np.float32],
    part: NDArray[np.int64],
    strengths: Sequence[float],
    device: Device = "cpu",
) -> list[Regression]:
    """One regression for each ``part`` [n], fitted to all other rows of ``features`` [n, m]; last, one fitted to all.

    The strength of the regularisation is the one of ``strengths`` that predicts the held-out parts best.
    """
    held_out = [part == number for number in range(part.max() + 1)]

    def loss(fitted: list[Regression]) -> float:
        scores = np.empty(targets.shape)
        for rows, one in zip(held_out, fitted, strict=True):
            scores[rows] = one(features[rows])
        p = scores.clip(1e-6, 1 - 1e-6)
        return float(-np.nanmean(targets * np.log(p) + (1 - targets) * np.log(1 - p)))

    candidates = {
        strength: [fit_regression(features[~rows], targets[~rows], strength, device) for rows in held_out]
        for strength in strengths
    }
    best = min(candidates, key=lambda strength: loss(candidates[strength]))
    return [*candidates[best], fit_regression(features, targets, best, device)]
