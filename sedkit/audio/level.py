"""The level of a recording: removal of a constant offset (DC), and gain.

The offset is followed in cells of 20 ms from the start of the recording, so the result does not depend on where the
decoder cuts its blocks. The offset at the end of a cell is the mean of the cells so far, of the last FOLLOWED at most,
weighted exponentially; in between it is interpolated. A cell of equal samples is nothing but offset: it becomes digital
silence, and the mean starts anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Literal, TypeAlias

import numpy as np

from sedkit.audio.channels import cell_length
from sedkit.audio.decoding import Samples
from sedkit.errors import ArgumentError
from sedkit.geometry import SAMPLE_RATE

Gain: TypeAlias = float | Literal["auto"]

FOLLOWED = 50  # cells of 20 ms: a time constant of 1 s
TARGET = -20.0  # dB relative to full scale; level of the loudest second after automatic gain
MOST_GAIN = 60.0  # dB
HEARD = 600  # seconds from whose loudest one the automatic gain is computed
GAINS = (-100.0, 100.0)  # dB


class WithoutOffset:
    """Removes the constant offset from mono blocks.

    Parameters
    ----------
    rate : sample rate in Hz.
    """

    def __init__(self, rate: float) -> None:
        self.cell = cell_length(rate)
        self.ramp = (np.arange(self.cell, dtype=np.float32) + 1) / np.float32(self.cell)
        self.rest: Samples = np.zeros(0, np.float32)  # samples of a cell that is not complete
        self.offset = 0.0
        self.cells = 0  # that the offset is the mean of

    def __call__(self, block: Samples) -> Samples:
        """The samples of all complete cells, without offset."""
        samples = np.concatenate([self.rest, block]) if self.rest.size else block
        whole = len(samples) // self.cell * self.cell
        self.rest = samples[whole:].copy()
        cells = samples[:whole].reshape(-1, self.cell)
        before, after = self._offsets(cells)
        shifted: Samples = cells - before[:, None]
        shifted -= (after - before)[:, None] * self.ramp
        return shifted.reshape(-1)

    def finish(self) -> Samples:
        """The samples of the last cell, which may be incomplete."""
        rest, self.rest = self.rest, np.zeros(0, np.float32)
        offset = self.offset if self.cells else float(rest.mean()) if rest.size else 0.0
        return rest - np.float32(offset)

    def _offsets(self, cells: Samples) -> tuple[Samples, Samples]:
        """The offsets at the start and at the end of each cell."""
        means = cells.mean(axis=1, dtype=np.float64).tolist()
        constant = (cells[:, 0] == cells[:, -1]).tolist()
        before: list[float] = []
        after: list[float] = []
        for index, mean in enumerate(means):
            if constant[index] and (cells[index] == cells[index, 0]).all():
                self.offset, self.cells = float(cells[index, 0]), 0
                before.append(self.offset)
            else:
                before.append(self.offset if self.cells else mean)
                self.cells = min(self.cells + 1, FOLLOWED)
                self.offset = before[-1] + (mean - before[-1]) / self.cells
            after.append(self.offset)
        return np.array(before, np.float32), np.array(after, np.float32)


def check_gain(gain: Gain) -> None:
    """Raise ArgumentError if a gain is neither ``"auto"`` nor a number of dB."""
    if gain != "auto":
        number = isinstance(gain, int | float | np.number) and not isinstance(gain, bool)
        if not number or not GAINS[0] <= gain <= GAINS[1]:
            raise ArgumentError(f"gain must be 'auto' or from {GAINS[0]:g} to {GAINS[1]:g} dB, not {gain!r}")


def amplified(blocks: Iterator[Samples], gain: Gain, rate: int = SAMPLE_RATE) -> Iterator[Samples]:
    """Blocks at `rate` Hz with a gain in dB; ``"auto"`` is one gain, from the level of the first ten minutes."""
    if not gain:
        yield from blocks
        return
    heard = list[Samples]()
    if gain == "auto":
        for block in blocks:
            heard.append(block)
            if sum(map(len, heard)) >= HEARD * rate:
                break
        level = loudest_second(np.concatenate(heard)[: HEARD * rate], rate) if heard else 0.0
        decibels = min(TARGET - level, MOST_GAIN) if level > -np.inf else 0.0
    else:
        decibels = gain
    factor = np.float32(10 ** (decibels / 20))
    for block in chain(heard, blocks):
        yield block * factor


def loudest_second(samples: Samples, rate: int = SAMPLE_RATE) -> float:
    """Level of the loudest second, in steps of 0.1 s from the start; RMS in dB relative to full scale."""
    step = rate // 10
    padded = np.zeros(max(10, -(-len(samples) // step)) * step, np.float32)
    padded[: len(samples)] = samples
    energies = np.square(padded).reshape(-1, step).sum(axis=1, dtype=np.float64)
    seconds = np.convolve(energies, np.ones(10), "valid")
    loudest = float(seconds.max()) / min(rate, max(1, len(samples)))
    return float(10 * np.log10(loudest)) if loudest > 0 else -float("inf")
