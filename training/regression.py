"""What features of another network say of our classes: logistic regression."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F


def regression(
    features: NDArray[np.float64],
    targets: NDArray[np.float32],
    strength: float,
    device: torch.device | str = "cpu",
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Logistic regressions of all classes, fitted at once: features [clips, n] -> probabilities [clips, classes].

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
    w, b = weight.detach().cpu().double().numpy(), offset.detach().cpu().double().numpy()
    return lambda asked: np.asarray(1 / (1 + np.exp(-((asked - mean) / spread @ w + b))))
