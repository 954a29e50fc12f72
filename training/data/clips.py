"""Clips for training and evaluation: waveforms with weak labels, read lazily, and the crops of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import MOST_TAG_SEGMENTS, Label
from sedkit.geometry import segment_count
from training.data.audio import crop, without_padding
from training.data.augment.augmentation import Draws
from training.data.augment.channel import noisy, reverberant
from training.data.augment.soundscapes import Placed, Waveforms, overlay, scattered
from training.data.manifest.table import Manifest
from training.data.sampling import Rows, balanced, by_shard, shuffled


class Labels(Protocol):
    """Weak labels: ``labels[rows]`` is float32 [rows, classes], 0 or 1, as in an array."""

    def __getitem__(self, rows: Rows, /) -> NDArray[np.float32]: ...


class Subset(Sequence[NDArray[np.int16]]):
    """The ``waveforms`` at ``rows``, in that order; with ``trimmed``, without the zeros at their ends."""

    def __init__(self, waveforms: Waveforms, rows: Sequence[int] | Rows, trimmed: bool = False) -> None:
        self.waveforms, self.rows, self.trimmed = waveforms, rows, trimmed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, clip: int) -> NDArray[np.int16]:  # type: ignore[override]
        waveform = self.waveforms[self.rows[clip]]
        return without_padding(waveform) if self.trimmed else waveform


def median_segments(clips: Sequence[NDArray[np.int16]]) -> int:
    """Number of segments of a clip of median length, at most ``MOST_TAG_SEGMENTS``. Looks at up to 200 clips."""
    lengths = [len(clips[clip]) for clip in range(0, len(clips), -(-len(clips) // 200))]
    return min(segment_count(int(np.median(lengths))), MOST_TAG_SEGMENTS)


class WeakLabels:
    """The labels of a manifest's clips at ``rows``, made into arrays when they are read."""

    def __init__(self, manifest: Manifest, rows: Rows) -> None:
        self.manifest, self.rows = manifest, rows

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        return self.manifest.targets(self.rows[rows])


@dataclass(frozen=True)
class Clips:
    """Waveforms with weak labels.

    Attributes
    ----------
    waveforms : [samples] int16 each, 16 kHz mono, of any length.
    labels : of each clip.
    classes : the classes of the labels.
    weights : [clips] relative frequency with which each clip is drawn in an epoch; None: each clip once.
    shards : number of consecutive clips in each shard, if shards are to be read from start to end.
    """

    waveforms: Sequence[NDArray[np.int16]]
    labels: Labels
    classes: Sequence[Label]
    weights: NDArray[np.float64] | None = None
    shards: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.waveforms)

    def order(self, batch_size: int, random: np.random.Generator, draws: int = 0) -> Rows:
        """Draw the clips of an epoch: [batches, batch_size], or one batch of all clips if there are fewer.

        With weights, ``draws`` clips are drawn, or as many as there are if it is 0. Otherwise each clip comes once.
        """
        if self.weights is not None:
            return balanced(self.weights, draws or len(self), batch_size, random)
        if self.shards is not None:
            return by_shard(self.shards, batch_size, random)
        return shuffled(len(self), batch_size, random)

    def crops(self, rows: Rows, draws: Draws, out: NDArray[np.int16]) -> None:
        """Fill ``out`` with augmented crops.

        A crop of one clip is taken at the drawn position; several clips are overlaid. Then reverberation and noise
        are added.

        Parameters
        ----------
        rows : [crops] or [crops, n] the clips of each crop; -1: none.
        draws : the random values of each crop.
        out : [crops, samples] int16.
        """
        for target, mixed, place, seed in zip(out, rows.reshape(len(rows), -1), draws.places, draws.seeds, strict=True):
            waveforms = [self.waveforms[row] for row in mixed if row >= 0]
            if len(waveforms) == 1:
                target[:] = crop(waveforms[0], len(target), place)
            else:
                target[:] = overlay(waveforms, len(target), np.random.default_rng(seed))
        _add_channels(draws, out)

    def scattered(self, rows: Rows, draws: Draws, samples: int, out: NDArray[np.int16]) -> list[dict[int, Placed]]:
        """As :meth:`crops`, with clips at random positions that may reach beyond the crop.

        Parameters
        ----------
        samples : length of a crop after it is resampled to its speed.

        Returns
        -------
        For each crop, clip → its placement.
        """
        placements = []
        drawn = zip(draws.seeds, draws.speeds.tolist(), strict=True)
        for target, mixed, (seed, speed) in zip(out, rows.reshape(len(rows), -1), drawn, strict=True):
            distinct = list(dict.fromkeys(int(row) for row in mixed if row >= 0))
            waveforms = [self.waveforms[row] for row in distinct]
            length = min(len(target), round(samples * speed))
            target[length:] = 0
            target[:length], placed = scattered(waveforms, length, np.random.default_rng(seed))
            placements.append(dict(zip(distinct, placed, strict=True)))
        _add_channels(draws, out)
        return placements

    def multi_hot(self) -> NDArray[np.float32]:
        """Labels of all clips, [clips, classes]."""
        return self.labels[np.arange(len(self))]


def _add_channels(draws: Draws, out: NDArray[np.int16]) -> None:
    """Add reverberation and noise to the crops in ``out``."""
    for target, seed, t60, snr in zip(out, draws.seeds, draws.t60s, draws.snrs, strict=True):
        if t60:
            target[:] = reverberant(target, t60, np.random.default_rng((seed, 2)))
        if np.isfinite(snr):
            target[:] = noisy(target, snr, np.random.default_rng((seed, 1)))
