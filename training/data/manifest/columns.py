"""Columns of a manifest: text and classes, a few bytes a clip, that behave like lists of them.

A manifest of AudioSet has two million rows. Text lies in Arrow's buffers, once where it repeats, and the
classes of all clips in two arrays; objects are made of the rows that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

TEXT = pa.large_string()
CHUNK = 1 << 16  # rows made into objects at a time


class Texts(Sequence[str]):
    """Text of each clip. Equal to a list of the same strings.

    Attributes
    ----------
    values : Arrow array, of strings or, where many are alike, of codes into a dictionary of strings.
    prefix : what all of them begin with, beside ``values``.
    """

    def __init__(self, values: pa.Array, prefix: str = "") -> None:
        self.values = values
        self.prefix = prefix

    @classmethod
    def of(cls, texts: Iterable[str] | pa.Array) -> Texts:
        """A column of texts that repeat."""
        values = texts if isinstance(texts, pa.Array) else pa.array(texts, TEXT)
        return cls(values.dictionary_encode())

    @property
    def encoded(self) -> pa.DictionaryArray:
        """The column as codes (``.indices``) into its different texts without prefix (``.dictionary``)."""
        return self.values if pa.types.is_dictionary(self.values.type) else self.values.dictionary_encode()

    def plain(self) -> pa.Array:
        """The whole texts as an Arrow array of strings."""
        encoded = pa.types.is_dictionary(self.values.type)
        return joined(scalar(self.prefix), self.values.dictionary_decode() if encoded else self.values)

    def equals(self, text: str) -> NDArray[np.bool_]:
        """[clips]: is it ``text``?"""
        encoded = self.encoded
        wanted = scalar(text.removeprefix(self.prefix)) if text.startswith(self.prefix) else None
        code = pc.index(encoded.dictionary, wanted).as_py() if wanted else -1
        return encoded.indices.to_numpy() == (code if code >= 0 else -1)

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """The texts of ``rows``."""
        return Texts(self.values.take(pa.array(rows)), self.prefix)

    def distinct(self) -> list[str]:
        """Each text once, in order of appearance."""
        return list(dict.fromkeys(self.prefix + text for text in self.values.unique().to_pylist()))

    def count(self, value: Any) -> int:
        return int(self.equals(value).sum())

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and bool(self.count(value))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.values), CHUNK):
            for text in self.values.slice(start, CHUNK).to_pylist():
                yield self.prefix + text

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self.prefix + text for text in self.values[row].to_pylist()]
        return self.prefix + self.values[int(row)].as_py()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Texts({self[:3]}, {len(self)} in all)"


class Labels(Sequence[tuple[int, ...]]):
    """Classes of each clip: clip ``i`` has ``classes[offsets[i]:offsets[i + 1]]``. Equal to a list of tuples.

    Attributes
    ----------
    offsets : [clips + 1] int64.
    classes : [labels] int32, positions in the vocabulary, ascending within a clip.
    known : [clips]: are its classes known? An unlabelled clip has none, which does not say that none is heard.
    """

    def __init__(
        self, offsets: NDArray[np.int64], classes: NDArray[np.int32], known: NDArray[np.bool_] | None = None
    ) -> None:
        self.offsets = offsets
        self.classes = classes
        self.known = np.ones(len(offsets) - 1, bool) if known is None else known

    @classmethod
    def of(cls, clips: Iterable[Sequence[int]]) -> Labels:
        """The column of some tuples of classes."""
        rows = [sorted(set(classes)) for classes in clips]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(offsets, np.array([place for row in rows for place in row], np.int32))

    @classmethod
    def of_pairs(cls, clips: NDArray[np.integer], classes: NDArray[np.integer], count: int) -> Labels:
        """The column of ``count`` clips from pairs of clip and class, in any order and any number of times."""
        width = int(classes.max(initial=0)) + 1
        pairs = np.sort(clips.astype(np.int64) * width + classes)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        held = np.bincount(pairs // width, minlength=count)
        return cls(np.concatenate([[0], np.cumsum(held)]), (pairs % width).astype(np.int32))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[clips]: how many labels each has."""
        return np.diff(self.offsets)

    def clips(self) -> NDArray[np.int64]:
        """[labels]: the clip that each of ``classes`` belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """The labels of ``rows``."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Labels(offsets, self.classes[places], self.known[rows])

    def counts(self, classes: int) -> NDArray[np.int64]:
        """[classes]: how many clips have each."""
        return np.bincount(self.classes, minlength=classes)

    def multi_hot(self, classes: int) -> NDArray[np.float32]:
        """[clips, classes], 0 or 1; NaN where it is not known."""
        targets = np.zeros((len(self), classes), np.float32)
        targets[self.clips(), self.classes] = 1
        targets[~self.known] = np.nan
        return targets

    def texts(self, keys: Sequence[str], none: str = "", unknown: str = "") -> pa.Array:
        """Each clip's labels joined by ``;``, where ``keys`` are the classes' texts.

        ``none`` where it has none, ``unknown`` where they are not known.
        """
        texts = pa.array(keys, TEXT).take(pa.array(self.classes))
        lists = pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), texts)
        empty = pc.if_else(pa.array(self.known), scalar(none), scalar(unknown))
        return pc.if_else(pa.array(self.lengths > 0), pc.binary_join(lists, scalar(";")), empty)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, row: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[int, ...]]: ...
    def __getitem__(self, row: int | slice) -> tuple[int, ...] | list[tuple[int, ...]]:
        if isinstance(row, slice):
            return [self[place] for place in range(*row.indices(len(self)))]
        place = range(len(self))[row]
        return tuple(self.classes[self.offsets[place] : self.offsets[place + 1]].tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Labels({self[:3]}, {len(self)} in all)"


def scalar(text: str) -> pa.Scalar:
    """A text for Arrow to work with."""
    return pa.scalar(text, TEXT)


def joined(*columns: pa.Array | pa.Scalar, by: str = "") -> pa.Array:
    """The texts of each row, one after the other with ``by`` between them."""
    return pc.binary_join_element_wise(*columns, scalar(by))
