"""From channels to mono: the mean of the channels, or one of them.

The rule of ``mix``, for cells of 20 ms. The energies of the channels, and of what they have in common, are summed from
the start of the recording with a time constant of 10 s, up to the end of each cell:

- The low-frequency effects channel of 5.1 and 7.1 does not count.
- A channel 40 dB or more below the loudest one is silent and does not count.
- The result is the weighted mean of the channels that count, unless they cancel each other: if the mean has less than a
  twentieth of their average energy, the result is one channel instead, the first within 3 dB of the loudest.
- The weights are those of ITU-R BS.775-4, Annex 4, Table 2, for mono: left and right 1, centre +3 dB, surround and back
  -3 dB. The channels of arrays and of unknown layouts have equal weights.

The cells start with the recording, so the result does not depend on where the decoder cuts its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.decoding import Chunk, Notify, Samples
from sedkit.errors import ArgumentError, AudioError

Channel: TypeAlias = Literal["mix", "left", "right"] | int

CELL = 0.02  # seconds
MEMORY = 10.0  # seconds; time constant of the energies
SILENT = 1e-4  # energy relative to the loudest channel; 40 dB
CANCELLED = 0.05  # energy of the mean relative to the average of its channels; 13 dB
NEARLY_LOUDEST = 0.5  # energy relative to the loudest channel; 3 dB
NAMES = {"left": 1, "right": 2}


def channel_number(channel: Channel) -> int | None:
    """The number of a channel, from 1 on; None for the mix.

    Raises
    ------
    ArgumentError
        If it is neither ``"mix"``, ``"left"``, ``"right"`` nor a number from 1 on.
    """
    if channel == "mix":
        return None
    number = NAMES.get(channel) if isinstance(channel, str) else channel
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 1:
        raise ArgumentError(f"channel must be 'mix', 'left', 'right' or a number from 1 on, not {channel!r}")
    return int(number)


def mean(channels: Samples, weights: NDArray[np.float32] | None = None) -> Samples:
    """The (weighted) mean over channels, [channels, samples]; faster than ``numpy.mean`` on interleaved channels."""
    if len(channels) == 1:
        only: Samples = channels[0]
        return only
    if weights is not None and weights.min() == weights.max():
        weights = None
    with np.errstate(invalid="ignore", over="ignore"):  # samples that are NaN or infinite are refused later
        if weights is None:
            total: Samples = channels[0] + channels[1]
            for channel in channels[2:]:
                total += channel
            total /= len(channels)
            return total
        weighted: Samples = channels[0] * weights[0]
        for channel, weight in zip(channels[1:], weights[1:], strict=True):
            weighted += channel * weight
        weighted /= weights.sum()
        return weighted


def cell_length(rate: float) -> int:
    """Samples in a cell."""
    return max(1, round(CELL * rate))


class Selected:
    """Takes one channel of each chunk.

    Parameters
    ----------
    number : from 1 on.
    name : of the recording, for the error.
    """

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.checked = False

    def __call__(self, chunk: Chunk) -> Iterator[Samples]:
        """Yield the channel.

        Raises
        ------
        AudioError
            If the recording has fewer channels at its start. Where it has fewer later, the last one is taken.
        """
        channels = len(chunk.samples)
        if not self.checked and self.number > channels:
            has = "one channel" if channels == 1 else f"{channels} channels"
            raise AudioError(f"{self.name}: has {has}, no channel {self.number}; choose another --channel")
        self.checked = True
        yield chunk.samples[min(self.number, channels) - 1]

    def finish(self) -> Iterator[Samples]:
        return iter(())


class Mix:
    """Mixes the channels of a recording by the rule above.

    Parameters
    ----------
    notify : called once if channels cancel each other.
    """

    def __init__(self, notify: Notify) -> None:
        self.notify = notify
        self.energy = np.zeros((0, 0))  # running covariance of the channels
        self.rest: Samples = np.zeros((0, 0), np.float32)  # samples of a cell that is not complete
        self.weights: NDArray[np.float32] = np.zeros(0, np.float32)
        self.layout: tuple[float, ...] | None = None
        self.rate = 0.0
        self.seconds = 0.0
        self.notified = False

    def __call__(self, chunk: Chunk) -> Iterator[Samples]:
        """Yield the mix of all complete cells."""
        if len(chunk.samples) != len(self.energy) or chunk.weights != self.layout:
            yield from self.finish()
            self.energy = np.zeros((len(chunk.samples),) * 2)
            self.layout = chunk.weights
            self.weights = np.array(chunk.weights or [1.0] * len(chunk.samples), np.float32)
        self.rate = chunk.rate
        if len(chunk.samples) == 1:
            self.seconds += chunk.samples.shape[1] / chunk.rate
            yield chunk.samples[0]
            return
        samples = np.concatenate([self.rest, chunk.samples], axis=1) if self.rest.size else chunk.samples
        cell = cell_length(self.rate)
        whole = samples.shape[1] // cell * cell
        self.rest = samples[:, whole:].copy()
        if whole:
            yield from self._mixed(samples[:, :whole], cell)

    def finish(self) -> Iterator[Samples]:
        """Yield the mix of the last cell, which may be incomplete."""
        rest, self.rest = self.rest, np.zeros((0, 0), np.float32)
        if rest.size:
            yield from self._mixed(rest, rest.shape[1])

    def _mixed(self, samples: Samples, cell: int) -> Iterator[Samples]:
        """Mix whole cells of this length; consecutive cells with the same channels are mixed at once."""
        counts = self._choose(samples, cell)
        changes = np.flatnonzero((counts[1:] != counts[:-1]).any(axis=1)) + 1
        for start, stop in pairwise([0, *changes.tolist(), len(counts)]):
            part = samples[:, start * cell : stop * cell]
            chosen = counts[start]
            yield mean(part, self.weights) if chosen.all() else mean(part[chosen], self.weights[chosen])
            self.seconds += part.shape[1] / self.rate

    @np.errstate(invalid="ignore", over="ignore")  # samples that are NaN or infinite are refused later
    def _choose(self, samples: Samples, cell: int) -> NDArray[np.bool_]:
        """The channels that count in each cell, [cells, channels]."""
        cells = samples.reshape(len(samples), -1, cell).transpose(1, 0, 2)  # a view
        energy = (cells @ cells.transpose(0, 2, 1)).astype(np.float64)  # [cells, channels, channels]
        everything = self.weights > 0
        energy[:, ~everything, :] = energy[:, :, ~everything] = 0.0
        decay = math.exp(-cell_length(self.rate) / self.rate / MEMORY)
        last = self.energy
        for current in energy:
            current += last * decay
            last = current
        self.energy = last.copy()
        own = energy.diagonal(axis1=1, axis2=2)
        counts: NDArray[np.bool_] = own > SILENT * own.max(axis=1, keepdims=True)
        counts[~counts.any(axis=1)] = everything  # digital silence
        weighted = counts * self.weights.astype(np.float64)
        shares = weighted / weighted.sum(axis=1, keepdims=True)
        mixed = np.einsum("ki,kij,kj->k", shares, energy, shares)
        cancelled = mixed < CANCELLED * (own * shares).sum(axis=1)
        if cancelled.any():
            energies = own[cancelled]  # not the loudest of equal channels, which would change from cell to cell
            first = (energies >= NEARLY_LOUDEST * energies.max(axis=1, keepdims=True)).argmax(axis=1)
            counts[cancelled] = np.arange(len(samples)) == first[:, None]
            self._notify_once(int(first[0]), self.seconds + int(cancelled.argmax()) * cell / self.rate)
        return counts

    def _notify_once(self, channel: int, seconds: float) -> None:
        if not self.notified:
            self.notified = True
            name = {0: "the left channel", 1: "the right channel"}.get(channel, f"channel {channel + 1}")
            where = f"at {seconds:.1f} s"
            self.notify(f"the channels cancel each other {where}; sedkit takes {name} there; choose one with --channel")


def mono(chunks: Iterator[Chunk], channel: int | None, name: str, notify: Notify) -> Iterator[Samples]:
    """Mono samples of decoded chunks.

    Parameters
    ----------
    channel : number from 1 on; None for the mix.
    """
    mixer: Selected | Mix = Mix(notify) if channel is None else Selected(channel, name)
    for chunk in chunks:
        yield from mixer(chunk)
    yield from mixer.finish()
