"""Columns of a manifest: text and classes of all clips, in a few bytes per clip, that behave like lists.

AudioSet's manifest has two million rows. Arrow buffers hold the text, with repeated text stored once, and two arrays
hold the classes of all clips. Python objects are made only for the rows that are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

TEXT = pa.large_string()
CHUNK = 1 << 16  # rows converted to Python objects at a time


class Texts(Sequence[str]):
    """One text per clip. Compares equal to a list of the same strings.

    Attributes
    ----------
    values : Arrow array of strings, or dictionary-encoded where many strings repeat.
    prefix : common prefix of all texts, which ``values`` does not repeat.
    """

    def __init__(self, values: pa.Array, prefix: str = "") -> None:
        self.values = values
        self.prefix = prefix

    @classmethod
    def of(cls, texts: Iterable[str] | pa.Array) -> Texts:
        """A dictionary-encoded column, for texts that repeat."""
        values = texts if isinstance(texts, pa.Array) else pa.array(texts, TEXT)
        return cls(values.dictionary_encode())

    @property
    def encoded(self) -> pa.DictionaryArray:
        """The column as codes (``.indices``) into its distinct texts without the prefix (``.dictionary``)."""
        return self.values if pa.types.is_dictionary(self.values.type) else self.values.dictionary_encode()

    def plain(self) -> pa.Array:
        """The texts, prefix included, as an Arrow array of strings."""
        encoded = pa.types.is_dictionary(self.values.type)
        return joined(scalar(self.prefix), self.values.dictionary_decode() if encoded else self.values)

    def equals(self, text: str) -> NDArray[np.bool_]:
        """[clips] True where the text is ``text``."""
        encoded = self.encoded
        suffix = scalar(text.removeprefix(self.prefix)) if text.startswith(self.prefix) else None
        code: int = pc.index(encoded.dictionary, suffix).as_py() if suffix else -1
        matches: NDArray[np.bool_] = encoded.indices.to_numpy() == code
        return matches

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """The column at ``rows``, in that order."""
        return Texts(self.values.take(pa.array(rows)), self.prefix)

    def distinct(self) -> list[str]:
        """Each distinct text once, in order of first appearance."""
        return list(dict.fromkeys(self.prefix + text for text in self.values.unique().to_pylist()))

    def count(self, value: Any) -> int:
        """Number of clips whose text is ``value``."""
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
        text: str = self.prefix + self.values[int(row)].as_py()
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Texts({self[:3]}, {len(self)} in all)"


class Labels(Sequence[tuple[int, ...]]):
    """Classes of each clip: clip ``i`` has ``classes[offsets[i]:offsets[i + 1]]``. Compares equal to a list of tuples.

    Attributes
    ----------
    offsets : [clips + 1] int64.
    classes : [labels] int32, positions in the vocabulary, ascending within a clip.
    known : [clips] bool, False for unlabelled clips. Both an unlabelled clip and a clip of no class have no classes.
    unchecked : classes of each clip that may or may not occur in it; None: there are none in any clip.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        classes: NDArray[np.int32],
        known: NDArray[np.bool_] | None = None,
        unchecked: Labels | None = None,
    ) -> None:
        self.offsets = offsets
        self.classes = classes
        self.known = np.ones(len(offsets) - 1, bool) if known is None else known
        self.unchecked = unchecked if unchecked is not None and len(unchecked.classes) else None

    @classmethod
    def of(cls, clips: Iterable[Sequence[int]]) -> Labels:
        """Make a column from one sequence of classes per clip."""
        rows = [sorted(set(classes)) for classes in clips]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        return cls(offsets, np.array([index for row in rows for index in row], np.int32))

    @classmethod
    def of_pairs(cls, clips: NDArray[np.integer], classes: NDArray[np.integer], count: int) -> Labels:
        """Make a column of ``count`` clips from pairs (clip, class), in any order; duplicates count once."""
        width = int(classes.max(initial=0)) + 1
        pairs = np.sort(clips.astype(np.int64) * width + classes)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        lengths = np.bincount(pairs // width, minlength=count)
        return cls(np.concatenate([[0], np.cumsum(lengths)]), (pairs % width).astype(np.int32))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[clips] number of classes of each clip."""
        return np.diff(self.offsets)

    def clips(self) -> NDArray[np.int64]:
        """[labels] the clip that each entry of ``classes`` belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """The column at ``rows``, in that order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        entries = np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        unchecked = self.unchecked.take(rows) if self.unchecked else None
        return Labels(offsets, self.classes[entries], self.known[rows], unchecked)

    def counts(self, classes: int) -> NDArray[np.int64]:
        """[classes] number of clips that have each class."""
        return np.bincount(self.classes, minlength=classes)

    def multi_hot(self, classes: int) -> NDArray[np.float32]:
        """Targets [clips, classes]: 1 for the classes of a clip, else 0; NaN where unchecked or unlabelled."""
        targets = np.zeros((len(self), classes), np.float32)
        if self.unchecked:
            targets[self.unchecked.clips(), self.unchecked.classes] = np.nan
        targets[self.clips(), self.classes] = 1
        targets[~self.known] = np.nan
        return targets

    def texts(self, keys: Sequence[str], none: str = "", unknown: str = "") -> pa.Array:
        """Each clip's labels joined by ``;``, as an Arrow array of strings.

        Parameters
        ----------
        keys : [classes] the text of each class.
        none : text of a clip of no class.
        unknown : text of an unlabelled clip, and mark before each unchecked class.
        """
        texts = pa.array(keys, TEXT).take(pa.array(self.classes))
        lists = pa.ListArray.from_arrays(pa.array(self.offsets, pa.int32()), texts)
        empty = pc.if_else(pa.array(self.known), scalar(none), scalar(unknown))
        joined_labels = pc.if_else(pa.array(self.lengths > 0), pc.binary_join(lists, scalar(";")), empty)
        if not self.unchecked:
            return joined_labels
        marked = self.unchecked.texts([f";{unknown}{key}" for key in keys])
        return joined(joined_labels, pc.replace_substring(marked, ";;", ";"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, row: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[int, ...]]: ...
    def __getitem__(self, row: int | slice) -> tuple[int, ...] | list[tuple[int, ...]]:
        if isinstance(row, slice):
            return [self[clip] for clip in range(*row.indices(len(self)))]
        clip = range(len(self))[row]
        return tuple(self.classes[self.offsets[clip] : self.offsets[clip + 1]].tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Labels({self[:3]}, {len(self)} in all)"


def scalar(text: str) -> pa.Scalar:
    """An Arrow scalar of a column's type."""
    return pa.scalar(text, TEXT)


def joined(*columns: pa.Array | pa.Scalar, by: str = "") -> pa.Array:
    """Concatenate the columns row by row, with ``by`` between them."""
    return pc.binary_join_element_wise(*columns, scalar(by))
