"""What features of another network say of our classes: logistic regression."""

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
    """Logistic regressions of all classes: features [clips, n] -> probabilities [clips, classes].

    Attributes
    ----------
    mean, spread : [n], of the features that it was fitted to.
    weight, offset : [n, classes] and [classes], of features less ``mean``, in units of ``spread``.
    """

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        logits = (features - self.mean) / self.spread @ self.weight + self.offset
        return np.asarray(1 / (1 + np.exp(-logits)))


def regression(
    features: NDArray[np.float64], targets: NDArray[np.float32], strength: float, device: Device = "cpu"
) -> Regression:
    """Logistic regressions of all classes, fitted at once to ``features`` [clips, n] and ``targets`` [clips, classes].

    They minimise the cross-entropy summed over clips, plus ``strength`` / 2 times the squared weights. Features count
    in standard deviations over the clips that are fitted to, which count as 0.01 more than they are.
    """
    mean, spread = features.mean(0), features.std(0) + 0.01
    inputs = torch.from_numpy((features - mean) / spread).float().to(device)
    wanted = torch.from_numpy(targets).float().to(device)
    weight = torch.zeros(features.shape[1], targets.shape[1], device=device, requires_grad=True)
    offset = torch.full((targets.shape[1],), -3.0, device=device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, offset], max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-7)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        entropy = F.binary_cross_entropy_with_logits(inputs @ weight + offset, wanted, reduction="sum")
        value = (entropy + strength / 2 * weight.square().sum()) / len(inputs)
        value.backward()
        return value

    optimiser.step(closure)
    return Regression(mean, spread, *(one.detach().cpu().double().numpy() for one in (weight, offset)))


def without_each_part(
    features: NDArray[np.float64],
    targets: NDArray[np.float32],
    part: NDArray[np.int64],
    strengths: Sequence[float],
    device: Device = "cpu",
) -> list[Regression]:
    """Regressions fitted to all of ``features`` [n, m] but those of each ``part`` [n], from 0, and last one to all.

    Of ``strengths`` they have the one that tells the features of the parts best.
    """
    held_out = [part == held for held in range(part.max() + 1)]

    def loss(fitted: list[Regression]) -> float:
        said = np.empty(targets.shape)
        for rows, one in zip(held_out, fitted, strict=True):
            said[rows] = one(features[rows])
        p = said.clip(1e-6, 1 - 1e-6)
        return float(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean())

    found = {
        strength: [regression(features[~rows], targets[~rows], strength, device) for rows in held_out]
        for strength in strengths
    }
    best = min(found, key=lambda strength: loss(found[strength]))
    return [*found[best], regression(features, targets, best, device)]
