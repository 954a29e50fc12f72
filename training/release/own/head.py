"""The last layer for own classes: logistic regression on embeddings, with Eq. 1 as its loss, and its calibration.

The rest of the network stays as it is, and so do the scores of the classes that the model knows. The problem is convex:
there is nothing to choose but the weight of own clips and that of the penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedkit.contract import EMBEDDING
from training.loop.objective import cross_entropy
from training.networks.wels import Segments, pool
from training.release.own.embeddings import Embeddings

PENALTY = 1.0  # weight of half the squared distance from the initial weights
OWN = 10.0  # weight of a clip of the user's; one of the background has 1
RARE = -4.0  # initial bias of a new class
STEPS = 100  # of L-BFGS, at most


class Rows(NamedTuple):
    """Weights [classes, 1024] and biases [classes] of the last layer."""

    weights: NDArray[np.float32]
    biases: NDArray[np.float32]

    @classmethod
    def new(cls, classes: int) -> Rows:
        """Those of classes that the model does not know."""
        return cls(np.zeros((classes, EMBEDDING), np.float32), np.full(classes, RARE, np.float32))


class Examples(NamedTuple):
    """Clips of up to K segments; shorter ones are padded with silence.

    Attributes
    ----------
    segments : [clips, K, 1024].
    targets : [clips, classes]: 0, 1, or NaN where unknown.
    weight : of each clip.
    """

    segments: Embeddings
    targets: NDArray[np.float32]
    weight: float


def padded(clips: Sequence[Embeddings]) -> Embeddings:
    """Clips [n, K, 1024], as long as the longest."""
    result = np.zeros((len(clips), max([1, *map(len, clips)]), EMBEDDING), np.float32)
    for row, clip in zip(result, clips, strict=True):
        row[: len(clip)] = clip
    return result


def fit(examples: Sequence[Examples], initial: Rows) -> Rows:
    """The rows with the smallest loss; the penalty keeps them near ``initial``."""
    weights, biases = (torch.from_numpy(array.copy()).requires_grad_() for array in initial)
    start = torch.from_numpy(initial.weights)
    tensors = [(torch.from_numpy(one.segments), torch.from_numpy(one.targets), one.weight) for one in examples]
    optimizer = torch.optim.LBFGS([weights, biases], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = PENALTY / 2 * (weights - start).square().sum()
        for segments, targets, weight in tensors:
            total = total + weight * targets.numel() * cross_entropy(_scored(segments, weights, biases), targets)
        total.backward()
        return total

    optimizer.step(loss)
    return Rows(weights.detach().numpy(), biases.detach().numpy())


@torch.no_grad()
def clip_scores(rows: Rows, segments: Embeddings) -> NDArray[np.float64]:
    """Scores [clips, classes] of clips [clips, K, 1024], as the model computes them: 0 for silence."""
    scored = _scored(torch.from_numpy(segments), torch.from_numpy(rows.weights), torch.from_numpy(rows.biases))
    return pool(scored).clip.double().numpy()


def _scored(segments: Tensor, weights: Tensor, biases: Tensor) -> Segments:
    logits = segments @ weights.T + biases
    audible = (segments.amax(2, keepdim=True) > 0).float()
    return Segments(logits, torch.ones_like(logits[..., :1]), segments, audible)
