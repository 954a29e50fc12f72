"""The cells of a timeline with their tags, in arrays: a day has 86,400 of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from sedkit.results import Second, Tag

Class: TypeAlias = tuple[str, str | None]  # name and MID


class Seconds(Sequence[Second]):
    """A sequence of cells, each of which is made when it is asked for. It equals a tuple of the same cells.

    Parameters
    ----------
    spans : [cells, 2] float64, start and end in seconds.
    counts : [cells], number of tags of each cell.
    positions : [tags], of their classes in `classes`; all tags of the first cell, then those of the second, ...
    scores : [tags] float64.
    classes : name and MID of each class.
    """

    __slots__ = ("classes", "counts", "ends", "positions", "scores", "spans")

    def __init__(
        self,
        spans: NDArray[np.float64],
        counts: NDArray[np.integer],
        positions: NDArray[np.integer],
        scores: NDArray[np.float64],
        classes: Sequence[Class],
    ) -> None:
        self.spans, self.counts, self.classes = spans, counts.astype(np.int32), classes
        self.positions, self.scores = positions.astype(np.int32), scores
        self.ends = np.cumsum(self.counts, dtype=np.int64)  # of a cell's tags

    @classmethod
    def present(
        cls,
        edges: NDArray[np.float64],
        scores: NDArray[np.floating],
        present: NDArray[np.bool_],
        classes: Sequence[Class],
    ) -> Seconds:
        """Neighbouring cells with tags of the classes that are present, by descending score, then by label.

        Parameters
        ----------
        edges : [n + 1], seconds.
        scores, present : [n, classes].
        classes : name and MID of each class.
        """
        cells, columns = np.nonzero(present)
        found = scores[cells, columns].astype(np.float64)
        ranks = np.argsort(np.argsort([name for name, _ in classes]))
        order = np.lexsort((ranks[columns], -found, cells))
        spans = np.stack([edges[:-1], edges[1:]], axis=1)
        return cls(spans, present.sum(axis=1), columns[order], found[order], classes)

    @classmethod
    def of(cls, cells: Iterable[Second]) -> Seconds:
        """The same cells in arrays."""
        if isinstance(cells, Seconds):
            return cells
        cells = tuple(cells)
        tags = [tag for cell in cells for tag in cell.tags]
        classes: dict[Class, int] = {}
        positions = [classes.setdefault((tag.label, tag.mid), len(classes)) for tag in tags]
        return cls(
            np.array([(cell.start, cell.end) for cell in cells], np.float64).reshape(-1, 2),
            np.array([len(cell.tags) for cell in cells], np.int32),
            np.array(positions, np.int32),
            np.array([tag.score for tag in tags], np.float64),
            tuple(classes),
        )

    @classmethod
    def joined(cls, parts: Sequence[Seconds]) -> Seconds:
        """The cells of one or more sequences with the same classes, one after the other."""
        spans, counts, positions, scores = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("spans", "counts", "positions", "scores")
        )
        return cls(spans, counts, positions, scores, parts[0].classes)

    def __len__(self) -> int:
        return len(self.counts)

    @overload
    def __getitem__(self, index: int) -> Second: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Second, ...]: ...
    def __getitem__(self, index: int | slice) -> Second | tuple[Second, ...]:
        """A cell, or a tuple of cells."""
        if isinstance(index, slice):
            return tuple(self[cell] for cell in range(*index.indices(len(self))))
        cell = range(len(self))[index]
        start, end = self.spans[cell].tolist()
        stop = int(self.ends[cell])
        tags = slice(stop - int(self.counts[cell]), stop)
        classes = [self.classes[position] for position in self.positions[tags].tolist()]
        pairs = zip(classes, self.scores[tags].tolist(), strict=True)
        return Second(start, end, tuple([Tag(name, mid, score) for (name, mid), score in pairs]))

    def __iter__(self) -> Iterator[Second]:
        return (self[cell] for cell in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Seconds | tuple):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))
