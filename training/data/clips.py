"""What a network is trained on and scored on: waveforms with weak labels, read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import MOST_TAG_SEGMENTS, Label
from sedkit.geometry import segment_count
from training.data.augment.augmentation import Draws, crop, without_padding
from training.data.augment.channel import noisy, reverberant
from training.data.augment.soundscapes import Placed, overlay, scattered
from training.data.manifest.table import Manifest
from training.data.sampling import Rows, balanced, by_shard, shuffled
from training.data.store.source import Audio

FULL_SCALE = 32768.0  # int16 of a sample of 1.0


class Labels(Protocol):
    """Weak labels: ``labels[rows]`` is float32 [rows, classes], 0 or 1. An array is such a thing."""

    def __getitem__(self, rows: Rows, /) -> NDArray[np.float32]: ...


class Some(Sequence[NDArray[np.int16]]):
    """Those of ``waveforms`` at ``rows``; ``trimmed``: without padding at their ends."""

    def __init__(
        self, waveforms: Sequence[NDArray[np.int16]] | Audio, rows: Sequence[int] | Rows, trimmed: bool = False
    ) -> None:
        self.waveforms, self.rows, self.trimmed = waveforms, rows, trimmed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, clip: int) -> NDArray[np.int16]:
        waveform = self.waveforms[self.rows[clip]]
        return without_padding(waveform) if self.trimmed else waveform


def usual_segments(clips: Sequence[NDArray[np.int16]]) -> int:
    """K of the clip of median length, of 200 of ``clips`` or fewer: how long what is labelled is; at most 1000."""
    lengths = [len(clips[place]) for place in range(0, len(clips), -(-len(clips) // 200))]
    return min(segment_count(int(np.median(lengths))), MOST_TAG_SEGMENTS)


class WeakLabels:
    """The labels of a manifest's clips at ``rows``."""

    def __init__(self, manifest: Manifest, rows: Rows) -> None:
        self.manifest, self.rows = manifest, rows

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        return self.manifest.targets(self.rows[rows])


@dataclass(frozen=True)
class Clips:
    """Waveforms (int16, 16 kHz mono, any lengths) with weak labels of ``classes``.

    ``weights`` [clips]: how often each is drawn for an epoch, in proportion; None: once. ``shards``: how many
    of them lie in each file, one after the other, where files are to be read from beginning to end.
    """

    waveforms: Sequence[NDArray[np.int16]]
    labels: Labels
    classes: Sequence[Label]
    weights: NDArray[np.float64] | None = None
    shards: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.waveforms)

    def order(self, batch_size: int, random: np.random.Generator) -> Rows:
        """The clips of an epoch [batches, batch_size]; of fewer clips than one batch, all."""
        if self.weights is not None:
            return balanced(self.weights, len(self), batch_size, random)
        if self.shards is not None:
            return by_shard(self.shards, batch_size, random)
        return shuffled(len(self), batch_size, random)

    def crops(self, rows: Rows, chance: Draws, out: NDArray[np.int16]) -> None:
        """Fill ``out`` [clips, samples] with a crop of each clip, or those that are heard at once, through a channel.

        ``rows`` [clips] or [clips, n], -1: none.
        """
        for into, heard, place, seed in zip(out, rows.reshape(len(rows), -1), chance.places, chance.seeds, strict=True):
            waveforms = [self.waveforms[row] for row in heard if row >= 0]
            if len(waveforms) == 1:
                into[:] = crop(waveforms[0], len(into), place)
            else:
                into[:] = overlay(waveforms, len(into), np.random.default_rng(seed))
        _through_channels(chance, out)

    def scattered(self, rows: Rows, chance: Draws, samples: int, out: NDArray[np.int16]) -> list[dict[int, Placed]]:
        """As :meth:`crops`, each clip anywhere; returns, for each line of ``out``, clip → where it is heard.

        ``samples``: that are heard of a line when it is played at its speed.
        """
        places = []
        drawn = zip(chance.seeds, chance.speeds.tolist(), strict=True)
        for into, heard, (seed, speed) in zip(out, rows.reshape(len(rows), -1), drawn, strict=True):
            there = list(dict.fromkeys(int(row) for row in heard if row >= 0))
            waveforms = [self.waveforms[row] for row in there]
            played = min(len(into), round(samples * speed))
            into[played:] = 0
            into[:played], placed = scattered(waveforms, played, np.random.default_rng(seed))
            places.append(dict(zip(there, placed, strict=True)))
        _through_channels(chance, out)
        return places

    def multi_hot(self) -> NDArray[np.float32]:
        """The labels of all clips [clips, classes]."""
        return self.labels[np.arange(len(self))]


def _through_channels(chance: Draws, out: NDArray[np.int16]) -> None:
    """The crops in ``out`` as they are heard in rooms and noise."""
    for into, seed, t60, snr in zip(out, chance.seeds, chance.t60s, chance.snrs, strict=True):
        if t60:
            into[:] = reverberant(into, t60, np.random.default_rng((seed, 2)))
        if np.isfinite(snr):
            into[:] = noisy(into, snr, np.random.default_rng((seed, 1)))
