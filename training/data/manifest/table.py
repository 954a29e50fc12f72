"""The manifest: the format in which training reads data sets, a CSV file with one row per clip.

===============  =====================================================================================
``path``         audio file, absolute or relative to the manifest
``start``        seconds into the file; empty: 0
``duration``     seconds; empty: to the end of the file
``labels``       MIDs or names of the clip's classes, separated by ``;``; ``-``: none of the classes;
                 ``?NAME``: nobody checked whether this class occurs, so it counts neither way;
                 ``?``: unlabelled, allowed in ``train`` only, where teachers supply soft targets
``split``        ``train``, ``validation`` or ``test``; empty: not assigned
``group``        clips that must stay in one split (one recording, one speaker); empty: the file itself
``license``      free text
``attribution``  free text: author and origin
===============  =====================================================================================

Only ``path`` and ``labels`` are required. The classes come from a vocabulary file (training.data.manifest.vocabulary):
``set.labels.csv`` beside ``set.csv``, or a file that the user names.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sedkit.formats.delimited import row_writer
from training.data.manifest.columns import CHUNK, TEXT, Labels, Texts, joined, scalar
from training.data.manifest.headers import audio_faults
from training.data.manifest.paths import absolute, common_folder, relative
from training.data.manifest.problems import Faults, ManifestError, OnError, Tally
from training.data.manifest.rows import HEADER, Columns, Row, columns_of, read_columns, read_seconds
from training.data.manifest.vocabulary import NONE, UNKNOWN, Vocabulary
from training.runtime.files import replacing

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A data set in memory, one entry per clip in every column; about a hundred bytes per clip.

    Attributes
    ----------
    vocabulary : the classes.
    paths : absolute paths.
    starts : [clips] float64, seconds, 0 where not given.
    durations : [clips] float64, seconds, NaN where not given.
    labels : classes of each clip, ascending positions in the vocabulary.
    splits : ``train``, ``validation``, ``test`` or empty.
    groups, licenses, attributions : text, may be empty.
    dropped : counts, by kind, of the clips that were left out.
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
        """Check rows of text and make a manifest from them.

        A clip (path, start and duration) may be listed once. Neither audio files (``check_audio``) nor whether
        groups cross splits (``check_splits``) is checked.

        Parameters
        ----------
        base : folder that relative paths are relative to.
        where : what errors name as their place.

        Raises
        ------
        ManifestError
            If a row is faulty and ``on_error`` is ``stop``, or if no row remains.
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
        """As ``from_rows``, from columns of text. Empties ``columns`` to save memory."""
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
            lambda row: "{!r} of {}".format(vocabulary.first_unknown(*at(row, "labels")), *at(row, "path")),
        )
        none = pc.match_substring_regex(text["labels"], rf"^\s*{NONE}\s*(;|$)").to_numpy(zero_copy_only=False)
        bare = (labels.lengths == 0) & labels.known & ~none
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
        faults.tally.raise_on_stop(on_error, where)
        if faults.rows.all():
            raise ManifestError(f"{where}: no clips in it" + (f" but {faults.tally}" if faults else ""))
        groups, licenses, attributions = (Texts.of(text[name]) for name in ("group", "license", "attribution"))
        manifest = cls(vocabulary, paths, starts, durations, labels, splits, groups, licenses, attributions)
        return manifest.without(faults)

    @classmethod
    def load(
        cls, path: str | Path, vocabulary: Vocabulary | str | Path | None = None, on_error: OnError = "stop"
    ) -> Manifest:
        """Read a manifest file and check everything but the audio (see ``check_audio``).

        Parameters
        ----------
        vocabulary : the classes, or their file; ``NAME.labels.csv`` beside ``NAME.csv`` if None.

        Raises
        ------
        ManifestError
            If the file or its vocabulary cannot be read, or if it has faults (unknown labels, bad numbers, a group or
            a file in two splits) and ``on_error`` is ``stop``.
        """
        path = Path(path)
        if not path.is_file():
            raise ManifestError(f"{path}: no such manifest; make one with sedkit-train data")
        if not isinstance(vocabulary, Vocabulary):
            default = _labels_path(path)
            if not vocabulary and not default.exists():
                raise ManifestError(f"{path}: no {default.name} beside it; name the file of its classes")
            vocabulary = Vocabulary.load(vocabulary or default)
        manifest = cls.from_columns(read_columns(path), vocabulary, path.parent, on_error, str(path))
        manifest = manifest.check_splits(on_error, str(path))
        pa.default_memory_pool().release_unused()  # reading takes several times the memory of the result
        return manifest

    @classmethod
    def merge(cls, manifests: Sequence[Manifest], on_error: OnError = "stop") -> Manifest:
        """Join manifests into one, whose classes are those of all of them in AudioSet's order.

        Raises
        ------
        ManifestError
            If a clip is listed twice, or a file or a group lies in two splits, and ``on_error`` is ``stop``.
        """
        rows = [row for manifest in manifests for row in manifest.rows()]
        vocabulary = Vocabulary.union([manifest.vocabulary for manifest in manifests])
        return cls.from_rows(rows, vocabulary, Path(), on_error, "merge").check_splits(on_error, "merge")

    def save(self, path: str | Path, folder: str | None = None) -> None:
        """Write the manifest and, beside it, its vocabulary, each atomically.

        Paths below ``folder`` are written relative to it; ``folder`` is the manifest's own if None. A manifest can
        then be moved together with its audio.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        path = Path(path)
        self.vocabulary.save(_labels_path(path))
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = row_writer(file)
            writer.writerow(HEADER)
            writer.writerows(self.rows(os.path.abspath(path.parent) if folder is None else folder))

    def rows(self, folder: str = "") -> Iterator[Row]:
        """The clips as rows of text, with paths relative to ``folder`` where they lie below it."""
        for table in self._tables(folder):
            yield from map(Row._make, zip(*(column.to_pylist() for column in table), strict=True))

    def sha256(self) -> str:
        """Hash of the classes and of every row, in order.

        Paths are relative to the clips' common folder, so moving the manifest or the data does not change the hash.
        """
        digest = hashlib.sha256()
        for label in self.vocabulary.labels:
            digest.update(f"{label.index}\t{label.mid}\t{label.name}\n".encode())
        for columns in self._tables(self.root()):
            lines = joined(joined(*columns, by="\t"), scalar(""), by="\n")
            digest.update("".join(lines.to_pylist()).encode())
        return digest.hexdigest()

    def _tables(self, folder: str) -> Iterator[list[pa.Array]]:
        """The columns as text, ``CHUNK`` rows at a time."""
        keys = [self.vocabulary.key(index) for index in range(len(self.vocabulary))]
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
        """The deepest folder that contains every clip; empty if there is none, as for clips on two drives."""
        return common_folder(self.paths)

    def names(self) -> list[str]:
        """Paths of the clips relative to ``root()``, with ``/``."""
        names: list[str] = relative(self.paths, self.root()).to_pylist()
        return names

    def indices(self, split: str) -> NDArray[np.int64]:
        """Rows of ``split``, ascending."""
        return np.flatnonzero(self.splits.equals(split))

    def labelled(self, split: str) -> NDArray[np.int64]:
        """Rows of ``split`` that are not unlabelled, ascending."""
        return np.flatnonzero(self.splits.equals(split) & self.labels.known)

    def select(self, split: str) -> Manifest:
        """The clips of ``split``."""
        return self.take(self.indices(split))

    def take(self, rows: Sequence[int] | NDArray[np.int64], dropped: Tally | None = None) -> Manifest:
        """The clips at ``rows``, in that order; ``dropped`` counts why others are left out."""
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
        """The clips without the faulty ones, which are counted in ``dropped``.

        Raises
        ------
        ManifestError
            If there are faults and ``on_error`` is ``stop``, or if no clip remains.
        """
        if not faults:
            return self
        faults.tally.raise_on_stop(on_error, where)
        if faults.rows.all():
            raise ManifestError(f"{where}: no clip remains: {faults.tally}")
        return self.take(np.flatnonzero(~faults.rows), faults.tally)

    def with_splits(self, splits: Iterable[str] | pa.Array) -> Manifest:
        """The same clips with other splits, one per clip."""
        return replace(self, splits=Texts.of(splits))

    def with_labels(self, labels: Labels) -> Manifest:
        """The same clips with other labels."""
        return replace(self, labels=labels)

    def check_splits(self, on_error: OnError = "stop", where: str = "manifest") -> Manifest:
        """Check that no group and no file lies in two splits.

        With ``skip``, such a group or file keeps its clips in ``test``, or else those in ``validation``; its other
        clips are left out.

        Raises
        ------
        ManifestError
            If a group or a file lies in two splits and ``on_error`` is ``stop``.
        """
        faults = Faults(len(self))
        ranks = np.full(len(self), -1)
        for rank, split in enumerate(SPLITS):
            ranks[self.splits.equals(split)] = rank
        for kind, column in (("group that crosses splits", self.groups), ("file in two splits", self.paths)):
            highest = _highest(column, ranks)

            def example(row: int, column: Texts = column, highest: NDArray[np.int64] = highest) -> str:
                return f"{column[row]} in {SPLITS[ranks[row]]} and {SPLITS[highest[row]]}"

            faults.mark(kind, (ranks >= 0) & (ranks < highest), example)
        return self.without(faults, on_error, where)

    def check_audio(self, on_error: OnError = "stop", where: str = "manifest") -> Manifest:
        """Check that each file exists, that its header can be read, and that no clip ends after its file.

        Raises
        ------
        ManifestError
            If a file fails and ``on_error`` is ``stop``.
        """
        return self.without(audio_faults(self.paths, self.starts, self.durations), on_error, where)

    def targets(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Multi-hot labels [clips, classes] of all clips, or of those at ``rows``; NaN where unknown."""
        labels = self.labels if rows is None else self.labels.take(np.asarray(rows, dtype=np.int64))
        return labels.multi_hot(len(self.vocabulary))


def _equal(column: pa.Array, text: str) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = pc.equal(column, scalar(text)).to_numpy(zero_copy_only=False)
    return equal


def _repeated(
    paths: Texts, starts: NDArray[np.float64], durations: NDArray[np.float64], among: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """[clips] True where a clip equals an earlier one; only the clips ``among`` [clips] are compared."""
    rows = np.flatnonzero(among)
    encoded = paths.encoded
    repeated = np.zeros(len(paths), bool)
    if len(encoded.dictionary) < len(paths):
        clips = np.stack([encoded.indices.to_numpy()[rows], starts[rows], np.nan_to_num(durations[rows], nan=-1)])
        _, first = np.unique(clips, axis=1, return_index=True)
        repeated[rows] = True
        repeated[rows[first]] = False
    return repeated


def _highest(column: Texts, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """[clips] the highest of ``ranks`` [clips] among clips with the same text in ``column``; -1 for empty texts."""
    encoded = column.encoded
    codes: NDArray[np.integer] = encoded.indices.to_numpy()
    highest = np.full(len(encoded.dictionary), -1)
    np.maximum.at(highest, codes, ranks)
    highest[_equal(encoded.dictionary, "")] = -1
    best: NDArray[np.int64] = highest[codes]
    return best


def _text(seconds: float) -> str:
    return repr(seconds).removesuffix(".0")


def _labels_path(path: Path) -> Path:
    return path.with_suffix(".labels.csv")
