"""The manifest: the one form in which training reads a data set, a CSV with one row a clip.

===============  =====================================================================================
``path``         audio file, absolute or relative to the manifest
``start``        seconds into the file; empty: 0
``duration``     seconds; empty: to the end of the file
``labels``       the clip's classes, as MIDs or names, separated by ``;``
``split``        ``train``, ``validation`` or ``test``; empty: not assigned yet
``group``        clips that must not be parted by a split (one recording, one speaker); empty: the file itself
``license``      free text
``attribution``  free text: who made it and where it is from (this column may be missing)
===============  =====================================================================================

The classes stand in a vocabulary file (training.data.vocabulary) given by the user or lying beside
the manifest: ``set.labels.csv`` beside ``set.csv``.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.data.problems import ManifestError, OnError, Tally
from training.data.rows import HEADER, Row, read_rows, read_times
from training.data.vocabulary import Vocabulary
from training.files import replacing

SPLITS = ("train", "validation", "test")
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A data set in memory, one entry a clip in every column.

    Attributes
    ----------
    vocabulary : the classes.
    paths : absolute paths.
    starts : [clips] float64, seconds, 0 where not given.
    durations : [clips] float64, seconds, NaN where not given.
    labels : classes of each clip, ascending positions in the vocabulary.
    splits : ``train``, ``validation``, ``test`` or empty.
    groups, licenses, attributions : text, may be empty.
    dropped : what was left out on the way here, by kind.
    """

    vocabulary: Vocabulary
    paths: list[str]
    starts: NDArray[np.float64]
    durations: NDArray[np.float64]
    labels: list[tuple[int, ...]]
    splits: list[str]
    groups: list[str]
    licenses: list[str]
    attributions: list[str]
    dropped: Tally = field(default_factory=Tally)

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Row],
        vocabulary: Vocabulary,
        base: Path,
        on_error: OnError = "stop",
        where: str = "manifest",
    ) -> Manifest:
        """Check rows of text and put them into columns. ``base``: what relative paths are relative to.

        A clip (path, start and duration) may be listed once. Audio is not looked at (see ``checked``), nor
        whether groups cross splits (see ``parted``).

        Raises
        ------
        ManifestError
            If a row is wrong and ``on_error`` is ``stop``, or no row remains.
        """
        problems = Tally()
        folder = os.path.abspath(base)
        classes = _Classes(vocabulary)
        paths: list[str] = []
        starts, durations = array("d"), array("d")
        labels: list[tuple[int, ...]] = []
        splits: list[str] = []
        groups: list[str] = []
        licenses: list[str] = []
        attributions: list[str] = []
        seen: set[str | tuple[str, float, float]] = set()
        for number, row in enumerate(rows, 1):
            wrong, start, duration = read_times(row)
            found, unknown = classes[row.labels]
            path = os.path.normpath(os.path.join(folder, row.path))
            clip = (path, start, -1.0 if math.isnan(duration) else duration) if start or row.duration else path
            if not row.path:
                wrong = ("row without a path", f"row {number}")
            elif unknown:
                wrong = ("unknown label", f"{unknown!r} of {row.path}")
            elif not found:
                wrong = ("clip without a label", row.path)
            elif row.split and row.split not in SPLITS:
                wrong = ("unknown split", f"{row.split!r} of {row.path}")
            elif not wrong and clip in seen:
                wrong = ("clip listed twice", row.path)
            if wrong:
                problems.add(*wrong)
                continue
            seen.add(clip)
            paths.append(path)
            starts.append(start)
            durations.append(duration)
            labels.append(found)
            splits.append(sys.intern(row.split))
            groups.append(sys.intern(row.group))
            licenses.append(sys.intern(row.license))
            attributions.append(sys.intern(row.attribution))
        problems.settle(on_error, where)
        if not paths:
            raise ManifestError(f"{where}: no clips in it" + (f" but {problems}" if problems else ""))
        times = np.array(starts), np.array(durations)
        return cls(vocabulary, paths, *times, labels, splits, groups, licenses, attributions, problems)

    @classmethod
    def load(
        cls, path: str | Path, vocabulary: Vocabulary | str | Path | None = None, on_error: OnError = "stop"
    ) -> Manifest:
        """Read a manifest file. Without ``vocabulary``, its classes are those of ``NAME.labels.csv`` beside it.

        Checks everything but the audio: see ``checked``.

        Raises
        ------
        ManifestError
            If the file or its vocabulary cannot be read, or if there are faults in it (unknown labels,
            bad numbers, a group or a file in two splits) and ``on_error`` is ``stop``.
        """
        path = Path(path)
        if not path.is_file():
            raise ManifestError(f"{path}: no such manifest; python -m training.data makes one")
        if not isinstance(vocabulary, Vocabulary):
            beside = _labels_path(path)
            if not vocabulary and not beside.exists():
                raise ManifestError(
                    f"{path}: its classes are missing: no {beside.name} beside it; name a file of classes"
                )
            vocabulary = Vocabulary.load(vocabulary or beside)
        manifest = cls.from_rows(read_rows(path), vocabulary, path.parent, on_error, str(path))
        return manifest.parted(on_error, str(path))

    def save(self, path: str | Path) -> None:
        """Write the manifest and, beside it, its vocabulary; each atomically.

        Audio below the manifest's folder gets a relative path, so that the folder can be moved as one.

        Raises
        ------
        OutputError
            If it cannot be written there.
        """
        path = Path(path)
        self.vocabulary.save(_labels_path(path))
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows(self.rows(_from(os.path.abspath(path.parent))))

    def rows(self, shorten: Callable[[str], str] = str) -> Iterator[Row]:
        """The clips as rows of text; ``shorten`` turns absolute paths into what is to be written."""
        classes = {labels: ";".join(map(self.vocabulary.key, labels)) for labels in set(self.labels)}
        texts = zip(self.splits, self.groups, self.licenses, self.attributions, strict=True)
        times = zip(self.starts.tolist(), self.durations.tolist(), strict=True)
        for clip, (start, duration), labels, rest in zip(self.paths, times, self.labels, texts, strict=True):
            length = "" if math.isnan(duration) else _text(duration)
            yield Row(shorten(clip), _text(start) if start else "", length, classes[labels], *rest)

    def sha256(self) -> str:
        """Hash of the classes and of every row, in order.

        Paths count from the clips' common folder, so that it changes neither with the place of the
        manifest nor with that of the data.
        """
        digest = hashlib.sha256()
        for label in self.vocabulary.labels:
            digest.update(f"{label.index}\t{label.mid}\t{label.name}\n".encode())
        for row in self.rows(_from(self.root())):
            digest.update(("\t".join(row) + "\n").encode())
        return digest.hexdigest()

    def root(self) -> str:
        """The deepest folder that holds every clip (of a manifest whose clips share a drive)."""
        ends = {os.path.dirname(min(self.paths)), os.path.dirname(max(self.paths))}
        try:
            return os.path.commonpath(ends)
        except ValueError:
            return ""

    def names(self) -> list[str]:
        """Paths of the clips from ``root()``, with ``/``."""
        return list(map(_from(self.root()), self.paths))

    def indices(self, split: str) -> NDArray[np.int64]:
        """Rows of ``split``, ascending."""
        return np.array([row for row, name in enumerate(self.splits) if name == split], dtype=np.int64)

    def select(self, split: str) -> Manifest:
        """The clips of ``split`` alone."""
        return self.take(self.indices(split))

    def take(self, rows: Sequence[int] | NDArray[np.int64], dropped: Tally | None = None) -> Manifest:
        """The clips at ``rows``, in that order; ``dropped`` says why the others are left out."""
        chosen = np.asarray(rows, dtype=np.int64)
        tally = Tally()
        for other in (self.dropped, dropped):
            if other is not None:
                tally.update(other)

        def column(values: list[T]) -> list[T]:
            return [values[row] for row in chosen.tolist()]

        return Manifest(
            self.vocabulary,
            column(self.paths),
            self.starts[chosen],
            self.durations[chosen],
            column(self.labels),
            column(self.splits),
            column(self.groups),
            column(self.licenses),
            column(self.attributions),
            tally,
        )

    def without(
        self, faults: dict[int, tuple[str, str]], on_error: OnError = "skip", where: str = "manifest"
    ) -> Manifest:
        """The clips but those in ``faults`` (row → kind, example), which are counted in ``dropped``.

        Raises
        ------
        ManifestError
            If there are faults and ``on_error`` is ``stop``, or if no clip remains.
        """
        if not faults:
            return self
        problems = Tally()
        for kind, example in faults.values():
            problems.add(kind, example)
        problems.settle(on_error, where)
        if len(faults) == len(self):
            raise ManifestError(f"{where}: no clip remains: {problems}")
        return self.take([row for row in range(len(self)) if row not in faults], problems)

    def with_splits(self, splits: Sequence[str]) -> Manifest:
        """The same clips with other splits, one a clip."""
        return replace(self, splits=list(splits))

    def parted(self, on_error: OnError = "stop", where: str = "manifest") -> Manifest:
        """The manifest, checked so that no group and no file lies in two splits.

        With ``skip`` the clips stay that lie in the one that matters most: test, then validation, then train.

        Raises
        ------
        ManifestError
            If one does and ``on_error`` is ``stop``.
        """
        faults: dict[int, tuple[str, str]] = {}
        rank = [SPLITS.index(split) if split else -1 for split in self.splits]
        keys = (("file in two splits", self.paths), ("group that crosses splits", self.groups))
        for kind, keyed in keys:
            best: dict[str, int] = {}
            for key, place in zip(keyed, rank, strict=True):
                if key and place > best.get(key, -1):
                    best[key] = place
            for row, (key, place) in enumerate(zip(keyed, rank, strict=True)):
                if key and 0 <= place < best[key]:
                    faults[row] = (kind, f"{key} in {SPLITS[place]} and {SPLITS[best[key]]}")
        return self.without(faults, on_error, where)

    def checked(self, on_error: OnError = "stop", where: str = "manifest") -> Manifest:
        """The manifest, after looking whether each file exists and its header can be read.

        Raises
        ------
        ManifestError
            If one cannot and ``on_error`` is ``stop``.
        """
        from training.data.audio import fault

        seen: dict[str, str | None] = {}
        faults: dict[int, tuple[str, str]] = {}
        for row, path in enumerate(self.paths):
            if path not in seen:
                seen[path] = fault(path)
            if kind := seen[path]:
                faults[row] = (kind, path)
        return self.without(faults, on_error, where)

    def targets(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Multi-hot labels [clips, classes], 0 or 1, of all clips or of those at ``rows``."""
        labels = self.labels if rows is None else [self.labels[row] for row in rows]
        targets = np.zeros((len(labels), len(self.vocabulary)), np.float32)
        for target, classes in zip(targets, labels, strict=True):
            target[list(classes)] = 1
        return targets


class _Classes(dict[str, tuple[tuple[int, ...], str]]):
    """Text of a labels column → its classes and the first label that is none; each text is looked up once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __missing__(self, text: str) -> tuple[tuple[int, ...], str]:
        labels = [label.strip() for label in text.split(";") if label.strip()]
        found = {label: self.vocabulary.find(label) for label in labels}
        unknown = next((label for label, place in found.items() if place is None), "")
        self[text] = tuple(sorted({place for place in found.values() if place is not None})), unknown
        return self[text]


def _text(seconds: float) -> str:
    return repr(seconds).removesuffix(".0")


def _labels_path(path: Path) -> Path:
    return path.with_suffix(".labels.csv")


def _from(root: str) -> Callable[[str], str]:
    prefix = os.path.join(root, "") if root else ""
    return lambda path: path.removeprefix(prefix).replace(os.sep, "/")
