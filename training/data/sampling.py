"""The order of the clips in an epoch, as rows [batches, batch_size] that depend only on a random generator.

A last batch that is not full is left out; if there are fewer clips than one batch, all of them are one batch. Every
rank draws the same order and takes its part of each batch, so the order does not depend on the number of ranks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.manifest.columns import Labels

Rows = NDArray[np.int64]
LANES, WINDOW = 8, 512  # defaults of by_shard


def shuffled(clips: int, batch_size: int, random: np.random.Generator) -> Rows:
    """Every clip once, in random order."""
    size = min(batch_size, clips)
    batches = clips // size
    return random.permutation(clips)[: batches * size].reshape(batches, size)


def class_weights(labels: Labels, classes: int, offset: float = 100.0) -> NDArray[np.float64]:
    """Sampling weights [clips] that draw clips of rare classes more often.

    The weight of a clip is the sum over its labels of 1000 / (clips with the label + ``offset``), as for PaSST and
    EfficientAT on AudioSet (Koutini et al. 2022; Schmid et al. 2023). Clips of no class count as one class. Unlabelled
    clips get the mean weight of the others, so that an epoch contains their share of the data.
    """
    rarity = 1000 / (labels.counts(classes) + offset)
    weights: NDArray[np.float64] = np.bincount(labels.clips(), rarity[labels.classes], len(labels)).astype(np.float64)
    negative = labels.known & (labels.lengths == 0)
    weights[negative] = 1000 / (negative.sum() + offset)
    if not labels.known.all():
        weights[~labels.known] = weights[labels.known].mean()
    return weights


def balanced(weights: NDArray[np.float64], draws: int, batch_size: int, random: np.random.Generator) -> Rows:
    """``draws`` clips, drawn with replacement and with probabilities in proportion to ``weights`` [clips]."""
    bounds = np.cumsum(weights)
    size = min(batch_size, draws)
    batches = draws // size
    points = random.random(batches * size) * bounds[-1]
    rows: Rows = np.searchsorted(bounds, points, side="right").reshape(batches, size)
    return rows


def by_shard(
    shards: NDArray[np.int64], batch_size: int, random: np.random.Generator, lanes: int = LANES, window: int = WINDOW
) -> Rows:
    """Every clip once, in an order in which shards are read from start to end.

    The shards are shuffled, joined, and cut into lanes of equal length. The clips of a lane are shuffled within a
    window. Every batch takes the same number of clips from each lane, in the order of lanes; a rank whose part of the
    batch covers some lanes reads only their shards. The clips of one shard should be unrelated, as ``pack`` makes them.

    Parameters
    ----------
    shards : number of clips in each shard; clips are numbered consecutively.
    """
    ends = np.cumsum(shards)
    size = min(batch_size, int(ends[-1]))
    batches = int(ends[-1]) // size
    clips = np.concatenate(
        [np.arange(ends[shard] - shards[shard], ends[shard]) for shard in random.permutation(len(shards))]
    )
    widths = np.diff(np.linspace(0, size, lanes + 1).astype(np.int64))
    streams = np.split(clips[: batches * size], np.cumsum(batches * widths)[:-1])
    for stream in streams:
        for start in range(0, len(stream), window):
            random.shuffle(stream[start : start + window])
    return np.hstack([stream.reshape(batches, width) for stream, width in zip(streams, widths, strict=True)])
