"""Waveform → segments: zero padding, and windows that are computed each on its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sedkit.geometry import Geometry


class Scores(NamedTuple):
    """Output of an imported network for a batch of recordings; names as in the contract."""

    segments: Tensor  # [batch, K, classes], probabilities
    clip: Tensor  # [batch, classes], mean over the segments
    embedding: Tensor  # [batch, K, size]


class Segmenting(nn.Module):
    """Waveform [batch, samples] → :class:`Scores`. Subclasses compute the segments of a padded waveform.

    Attributes
    ----------
    geometry : where the segments lie.
    """

    geometry: Geometry

    def forward(self, waveform: Tensor) -> Scores:
        segments, embedding = self.segments(self.padded(waveform))
        return Scores(segments, segments.mean(1), embedding)

    def segments(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities [batch, K, classes] and embeddings [batch, K, size] of a waveform that ends with a segment."""
        raise NotImplementedError

    def padded(self, waveform: Tensor) -> Tensor:
        """The waveform, zero-padded so that the last segment ends with it."""
        hop, span = self.geometry.segment_hop, self.geometry.segment_span
        samples = waveform.shape[-1]
        hops = torch.sym_max(0, (samples - span + hop - 1) // hop)
        return F.pad(waveform, (0, span + hops * hop - samples))


class Windows(Segmenting):
    """A network that scores clips, applied to windows of fixed length, each on its own.

    Parameters
    ----------
    network : waveform [n, span] → probabilities [n, classes] and embeddings [n, size].
    geometry : the windows; its receptive field is its span.
    """

    def __init__(self, network: nn.Module, geometry: Geometry) -> None:
        super().__init__()
        self.network, self.geometry = network, geometry

    def segments(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        windows = padded.unfold(-1, self.geometry.segment_span, self.geometry.segment_hop)
        shape = windows.shape[:2]
        scores, embedding = self.network(windows.flatten(0, 1))
        return scores.unflatten(0, shape), embedding.unflatten(0, shape)


def reflected(waveform: Tensor, margin: int) -> Tensor:
    """A waveform [batch, samples] of more than `margin` samples, continued at both ends by its mirror image."""
    before = waveform[:, 1 : margin + 1].flip(-1)
    after = waveform[:, -margin - 1 : -1].flip(-1)
    return torch.cat([before, waveform, after], -1)
