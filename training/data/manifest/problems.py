"""Faults in data sets: counted by kind with a few examples, then raised as one error or skipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError

OnError = Literal["stop", "skip"]
EXAMPLES = 3  # kept of each kind


class ManifestError(SedkitError):
    """A manifest, its vocabulary or its audio cannot be used."""


class Tally:
    """Counts by kind, with the first examples of each kind.

    ``str(tally)`` is one line: ``2 x missing file (a.wav, b.wav); 1 x unknown label (...)``.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, kind: str, *examples: str, count: int = 1) -> None:
        """Add ``count`` cases of ``kind`` and some examples of them."""
        self.counts[kind] = self.counts.get(kind, 0) + count
        self.examples[kind] = [*self.examples.get(kind, []), *examples][:EXAMPLES]

    def update(self, other: Tally) -> None:
        """Add the counts and examples of ``other``."""
        for kind, count in other.counts.items():
            self.add(kind, *other.examples[kind], count=count)

    def lines(self) -> list[str]:
        """One line per kind, the most frequent first."""
        order = sorted(self.counts, key=lambda kind: (-self.counts[kind], kind))
        return [
            f"{self.counts[kind]} x {kind} ({', '.join(self.examples[kind])}"
            f"{', ...' if self.counts[kind] > len(self.examples[kind]) else ''})"
            for kind in order
        ]

    def raise_on_stop(self, on_error: OnError, where: str) -> None:
        """Raise if anything was counted and ``on_error`` is ``stop``.

        Raises
        ------
        ManifestError
            In one line: ``where``, each kind with its count and examples, and the remedy.
        """
        if self and on_error == "stop":
            raise ManifestError(f"{where}: {self}. Correct these, or leave the clips out with --on-error skip")

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        return "; ".join(self.lines())


class Faults:
    """The faulty rows of a manifest. A row counts once, under the first fault that was added.

    Attributes
    ----------
    rows : [rows] bool, True where a row is faulty.
    tally : the kinds of faults.
    """

    def __init__(self, rows: int) -> None:
        self.rows: NDArray[np.bool_] = np.zeros(rows, bool)
        self.tally = Tally()

    def mark(self, kind: str, wrong: NDArray[np.bool_], example: Callable[[int], str]) -> None:
        """Add the rows where ``wrong`` [rows] is True; ``example(row)`` describes one of them."""
        new = np.flatnonzero(wrong & ~self.rows)
        if len(new):
            self.tally.add(kind, *map(example, new[:EXAMPLES].tolist()), count=len(new))
            self.rows[new] = True

    def add(self, row: int, kind: str, example: str) -> None:
        """Add one row, described by ``example``."""
        if not self.rows[row]:
            self.tally.add(kind, example)
            self.rows[row] = True

    def __bool__(self) -> bool:
        return bool(self.tally)
