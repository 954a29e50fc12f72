"""In which order an epoch goes through the clips: functions of a generator alone, to rows [batches, batch_size].

A last, smaller batch is left out; of fewer clips than one batch, all make one. Every rank draws the same
order and takes its part of each batch: a row stands there once, whatever the number of ranks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.manifest.columns import Labels

Rows = NDArray[np.int64]
LANES, WINDOW = 8, 512  # of by_shard


def shuffled(clips: int, batch_size: int, random: np.random.Generator) -> Rows:
    """Every clip once, in random order."""
    size = min(batch_size, clips)
    batches = clips // size
    return random.permutation(clips)[: batches * size].reshape(batches, size)


def class_weights(labels: Labels, classes: int, offset: float = 100.0) -> NDArray[np.float64]:
    """How much more often than others a clip is drawn [clips], where rare classes are to be heard more often.

    The sum over the clip's labels of 1000 / (clips that have the label + ``offset``), as PaSST and EfficientAT
    draw AudioSet (Koutini et al. 2022; Schmid et al. 2023). Clips of no class count as a class. An unlabelled clip
    is drawn as often as the mean of the others: an epoch hears about as many of them as there are.
    """
    rarity = 1000 / (labels.counts(classes) + offset)
    weights = np.bincount(labels.clips(), rarity[labels.classes], len(labels))
    bare = labels.known & (labels.lengths == 0)
    weights[bare] = 1000 / (bare.sum() + offset)
    if not labels.known.all():
        weights[~labels.known] = weights[labels.known].mean()
    return weights


def balanced(weights: NDArray[np.float64], draws: int, batch_size: int, random: np.random.Generator) -> Rows:
    """``draws`` clips, each drawn with a probability in proportion to its weight, and put back."""
    bounds = np.cumsum(weights)
    size = min(batch_size, draws)
    batches = draws // size
    points = random.random(batches * size) * bounds[-1]
    return np.searchsorted(bounds, points, side="right").reshape(batches, size)


def by_shard(
    shards: NDArray[np.int64], batch_size: int, random: np.random.Generator, lanes: int = LANES, window: int = WINDOW
) -> Rows:
    """Every clip once, such that shards are read from beginning to end. ``shards``: clips in each, one after the other.

    The shards are shuffled and cut into lanes of equal length. A lane passes through a window in which its
    clips are shuffled, and every batch takes its share from each lane, lane after lane: a rank whose part of the
    batch is some of the lanes reads those shards, and no others. The clips of a shard are assumed to be
    strangers to each other, as ``pack`` makes them.
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
