"""The manifest: the one form in which training reads a data set, a CSV with one row a clip.

===============  =====================================================================================
``path``         audio file, absolute or relative to the manifest
``start``        seconds into the file; empty: 0
``duration``     seconds; empty: to the end of the file
``labels``       the clip's classes, as MIDs or names, separated by ``;``; ``-``: none of the classes;
                 ``?``: not known, of a clip in ``train`` that teachers alone tell of (an *unlabelled* clip)
``split``        ``train``, ``validation`` or ``test``; empty: not assigned yet
``group``        clips that must not be parted by a split (one recording, one speaker); empty: the file itself
``license``      free text
``attribution``  free text: who made it and where it is from (this column may be missing)
===============  =====================================================================================

The classes stand in a vocabulary file (training.data.manifest.vocabulary) given by the user or lying beside
the manifest: ``set.labels.csv`` beside ``set.csv``.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.manifest.columns import CHUNK, TEXT, Labels, Texts, joined, scalar
from training.data.manifest.paths import absolute, common_folder, relative
from training.data.manifest.problems import Faults, ManifestError, OnError, Tally
from training.data.manifest.rows import HEADER, Columns, Row, columns_of, read_columns, read_seconds
from training.data.manifest.vocabulary import NONE, UNKNOWN, Vocabulary
from training.runtime.files import replacing

SPLITS = ("train", "validation", "test")
LOOKING = 16  # files looked at at a time: what takes long is the disk


@dataclass(frozen=True, eq=False)
class Manifest:
    """A data set in memory, one entry a clip in every column; about a hundred bytes a clip.

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
    paths: Texts
    starts: NDArray[np.float64]
    durations: NDArray[np.float64]
    labels: Labels
    splits: Texts
    groups: Texts
    licenses: Texts
    attributions: Texts
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
        return cls.from_columns(columns_of(rows), vocabulary, base, on_error, where)

    @classmethod
    def from_columns(
        cls,
        columns: Columns,
        vocabulary: Vocabulary,
        base: Path,
        on_error: OnError = "stop",
        where: str = "manifest",
    ) -> Manifest:
        """As ``from_rows``, of columns of text, which are used up."""
        text = {name: pa.concat_arrays(columns.pop(name).chunks or [pa.array([], TEXT)]) for name in HEADER}
        paths = absolute(text["path"], os.path.abspath(base))
        labels, unknown = vocabulary.parse(text["labels"])
        splits = Texts.of(text["split"])
        starts, durations = read_seconds(text["start"], 0.0), read_seconds(text["duration"], math.nan)
        finite = (starts >= 0) & (starts < math.inf) & ~(durations <= 0) & ~(durations == math.inf)

        def at(row: int, *names: str) -> list[str]:
            return [text[name][row].as_py() for name in names]

        faults = Faults(len(paths))
        faults.mark("row without a path", _equal(text["path"], ""), lambda row: f"row {row + 1}")
        faults.mark(
            "unknown label",
            unknown,
            lambda row: "{!r} of {}".format(vocabulary.stranger(*at(row, "labels")), *at(row, "path")),
        )
        bare = (labels.lengths == 0) & labels.known & ~_equal(text["labels"], NONE)
        faults.mark("clip without a label", bare, lambda row: at(row, "path")[0])
        known = np.logical_or.reduce([splits.equals(split) for split in ("", *SPLITS)])
        faults.mark("unknown split", ~known, lambda row: "{!r} of {}".format(*at(row, "split", "path")))
        faults.mark(
            f"unlabelled clip ({UNKNOWN!r}) outside the split 'train': move it there or label it",
            ~labels.known & ~splits.equals("train"),
            lambda row: "row {}: {} in {!r}".format(row + 1, *at(row, "path", "split")),
        )
        faults.mark(
            "bad number",
            ~finite,
            lambda row: "start {!r}, duration {!r} of {}".format(*at(row, "start", "duration", "path")),
        )
        faults.mark(
            "clip listed twice", _repeated(paths, starts, durations, ~faults.rows), lambda row: at(row, "path")[0]
        )
        faults.tally.settle(on_error, where)
        if faults.rows.all():
            raise ManifestError(f"{where}: no clips in it" + (f" but {faults.tally}" if faults else ""))
        rest = (Texts.of(text[name]) for name in ("group", "license", "attribution"))
        manifest = cls(vocabulary, paths, starts, durations, labels, splits, *rest)
        return manifest.without(faults)

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
            raise ManifestError(f"{path}: no such manifest; sedkit-train data makes one")
        if not isinstance(vocabulary, Vocabulary):
            beside = _labels_path(path)
            if not vocabulary and not beside.exists():
                raise ManifestError(
                    f"{path}: its classes are missing: no {beside.name} beside it; name a file of classes"
                )
            vocabulary = Vocabulary.load(vocabulary or beside)
        manifest = cls.from_columns(read_columns(path), vocabulary, path.parent, on_error, str(path))
        manifest = manifest.parted(on_error, str(path))
        pa.default_memory_pool().release_unused()  # reading takes several times the room of what was read
        return manifest

    def save(self, path: str | Path, folder: str | None = None) -> None:
        """Write the manifest and, beside it, its vocabulary; each atomically.

        Audio below ``folder``, or else the manifest's own, gets a relative path, so that it can be moved as one.

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
            writer.writerows(self.rows(os.path.abspath(path.parent) if folder is None else folder))

    def rows(self, folder: str = "") -> Iterator[Row]:
        """The clips as rows of text; paths below ``folder`` count from it."""
        for table in self._tables(folder):
            yield from map(Row._make, zip(*(column.to_pylist() for column in table), strict=True))

    def sha256(self) -> str:
        """Hash of the classes and of every row, in order.

        Paths count from the clips' common folder, so that it changes neither with the place of the
        manifest nor with that of the data.
        """
        digest = hashlib.sha256()
        for label in self.vocabulary.labels:
            digest.update(f"{label.index}\t{label.mid}\t{label.name}\n".encode())
        for columns in self._tables(self.root()):
            lines = joined(joined(*columns, by="\t"), scalar(""), by="\n")
            digest.update("".join(lines.to_pylist()).encode())
        return digest.hexdigest()

    def _tables(self, folder: str) -> Iterator[list[pa.Array]]:
        """The columns as text, some rows at a time."""
        keys = [self.vocabulary.key(place) for place in range(len(self.vocabulary))]
        for start in range(0, len(self), CHUNK):
            part = self.take(np.arange(start, min(start + CHUNK, len(self))))
            texts = (part.splits, part.groups, part.licenses, part.attributions)
            yield [
                relative(part.paths, folder),
                pa.array([_text(seconds) if seconds else "" for seconds in part.starts.tolist()], TEXT),
                pa.array(["" if math.isnan(seconds) else _text(seconds) for seconds in part.durations.tolist()], TEXT),
                part.labels.texts(keys, NONE, UNKNOWN),
                *(column.plain() for column in texts),
            ]

    def root(self) -> str:
        """The deepest folder that holds every clip (of a manifest whose clips share a drive)."""
        return common_folder(self.paths)

    def names(self) -> list[str]:
        """Paths of the clips from ``root()``, with ``/``."""
        return relative(self.paths, self.root()).to_pylist()

    def indices(self, split: str) -> NDArray[np.int64]:
        """Rows of ``split``, ascending."""
        return np.flatnonzero(self.splits.equals(split))

    def labelled(self, split: str) -> NDArray[np.int64]:
        """Rows of ``split`` whose labels are known, ascending."""
        return np.flatnonzero(self.splits.equals(split) & self.labels.known)

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
        return Manifest(
            self.vocabulary,
            self.paths.take(chosen),
            self.starts[chosen],
            self.durations[chosen],
            self.labels.take(chosen),
            self.splits.take(chosen),
            self.groups.take(chosen),
            self.licenses.take(chosen),
            self.attributions.take(chosen),
            tally,
        )

    def without(self, faults: Faults, on_error: OnError = "skip", where: str = "manifest") -> Manifest:
        """The clips but those at fault, which are counted in ``dropped``.

        Raises
        ------
        ManifestError
            If there are faults and ``on_error`` is ``stop``, or if no clip remains.
        """
        if not faults:
            return self
        faults.tally.settle(on_error, where)
        if faults.rows.all():
            raise ManifestError(f"{where}: no clip remains: {faults.tally}")
        return self.take(np.flatnonzero(~faults.rows), faults.tally)

    def with_splits(self, splits: Iterable[str] | pa.Array) -> Manifest:
        """The same clips with other splits, one a clip."""
        return replace(self, splits=Texts.of(splits))

    def with_labels(self, labels: Labels) -> Manifest:
        """The same clips with other labels."""
        return replace(self, labels=labels)

    def parted(self, on_error: OnError = "stop", where: str = "manifest") -> Manifest:
        """The manifest, checked so that no group and no file lies in two splits.

        With ``skip`` the clips stay that lie in the one that matters most: test, then validation, then train.

        Raises
        ------
        ManifestError
            If one does and ``on_error`` is ``stop``.
        """
        faults = Faults(len(self))
        places = np.full(len(self), -1)
        for place, split in enumerate(SPLITS):
            places[self.splits.equals(split)] = place
        for kind, column in (("group that crosses splits", self.groups), ("file in two splits", self.paths)):
            best = _highest(column, places)
            faults.mark(
                kind,
                (places >= 0) & (places < best),
                lambda row, column=column, best=best: f"{column[row]} in {SPLITS[places[row]]} and {SPLITS[best[row]]}",
            )
        return self.without(faults, on_error, where)

    def checked(self, on_error: OnError = "stop", where: str = "manifest") -> Manifest:
        """The manifest, after looking whether each file exists and its header can be read.

        Raises
        ------
        ManifestError
            If one cannot and ``on_error`` is ``stop``.
        """
        from training.data.audio import fault

        files, codes = Texts(self.paths.encoded.dictionary, self.paths.prefix), self.paths.encoded.indices.to_numpy()
        with ThreadPoolExecutor(LOOKING) as pool:
            found = [
                kind for start in range(0, len(files), CHUNK) for kind in pool.map(fault, files[start : start + CHUNK])
            ]
        faults = Faults(len(self))
        for kind in sorted({kind for kind in found if kind}):
            faults.mark(kind, np.array([kind == this for this in found])[codes], self.paths.__getitem__)
        return self.without(faults, on_error, where)

    def targets(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Multi-hot labels [clips, classes] of all clips or of those at ``rows``: 0 or 1, NaN of unlabelled ones."""
        labels = self.labels if rows is None else self.labels.take(np.asarray(rows, dtype=np.int64))
        return labels.multi_hot(len(self.vocabulary))


def _equal(column: pa.Array, text: str) -> NDArray[np.bool_]:
    return pc.equal(column, scalar(text)).to_numpy(zero_copy_only=False)


def _repeated(
    paths: Texts, starts: NDArray[np.float64], durations: NDArray[np.float64], among: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """[clips]: is it, ``among`` some of them, the same clip as an earlier one?"""
    rows = np.flatnonzero(among)
    encoded = paths.encoded
    repeated = np.zeros(len(paths), bool)
    if len(encoded.dictionary) < len(paths):
        clips = np.stack([encoded.indices.to_numpy()[rows], starts[rows], np.nan_to_num(durations[rows], nan=-1)])
        _, first = np.unique(clips, axis=1, return_index=True)
        repeated[rows] = True
        repeated[rows[first]] = False
    return repeated


def _highest(column: Texts, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """[clips]: the highest of ``places`` [clips] among those of the same text in ``column``; -1 where that is empty."""
    encoded = column.encoded
    codes = encoded.indices.to_numpy()
    best = np.full(len(encoded.dictionary), -1)
    np.maximum.at(best, codes, places)
    best[_equal(encoded.dictionary, "")] = -1
    return best[codes]


def _text(seconds: float) -> str:
    return repr(seconds).removesuffix(".0")


def _labels_path(path: Path) -> Path:
    return path.with_suffix(".labels.csv")
