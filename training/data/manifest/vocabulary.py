"""The classes a model tells apart, in order, under their AudioSet numbers, MIDs and names.

A vocabulary file is a CSV ``index,mid,display_name``, the form in which AudioSet publishes its 527
classes (``class_labels_indices.csv``). A class of one's own leaves ``index`` and ``mid`` empty.
The order of the rows is the order of the classes.

In place of labels, ``-`` says that none of the classes is heard in a clip, and ``?`` that it is not known which are.
No class can have such a name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sedkit.contract import Label
from training.data.manifest.columns import TEXT, Labels
from training.data.manifest.problems import ManifestError
from training.runtime.files import replacing

HEADER = ("index", "mid", "display_name")
NONE = "-"  # in place of labels: none of the classes is heard
UNKNOWN = "?"  # in place of labels: nobody has said which are heard
MARKS = {NONE: "no class", UNKNOWN: "labels that are not known"}
MID = re.compile(r"/[mtg]/\w+")


class Vocabulary:
    """An ordered list of classes in which MIDs and names can be looked up.

    Raises
    ------
    ManifestError
        If it is empty, or a MID, name or index stands in it twice.
    """

    def __init__(self, labels: Iterable[Label], where: str = "vocabulary") -> None:
        self.labels: tuple[Label, ...] = tuple(labels)
        if not self.labels:
            raise ManifestError(f"{where}: no classes in it; it needs one row a class")
        self._class: dict[str, int] = {}
        for kind in ("name", "mid", "index"):
            values = [(getattr(label, kind), place) for place, label in enumerate(self.labels)]
            held = [(value, place) for value, place in values if value is not None]
            for mark in MARKS.keys() & dict(held).keys():
                raise ManifestError(
                    f"{where}: a class is called {mark!r}, which stands for {MARKS[mark]}; name it otherwise"
                )
            if len({value for value, _ in held}) != len(held):
                raise ManifestError(f"{where}: a class's {kind} stands there twice; each must be unique")
            if kind != "index":
                self._class.update(held)

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.labels == other.labels

    def __hash__(self) -> int:
        return hash(self.labels)

    def find(self, text: str) -> int | None:
        """The class (0 to len - 1) whose MID or name is ``text``, or None."""
        return self._class.get(text)

    def parse(self, texts: pa.Array) -> tuple[Labels, NDArray[np.bool_]]:
        """A column of labels (MIDs or names by ``;``, or a mark): their classes, and where one is none of these."""
        encoded = texts.dictionary_encode()
        count, codes = len(encoded.dictionary), encoded.indices.to_numpy()
        pieces = pc.split_pattern(encoded.dictionary, ";")
        labels = pc.utf8_trim_whitespace(pieces.flatten())
        rows = np.repeat(np.arange(count), pc.list_value_length(pieces).to_numpy(zero_copy_only=False))
        known = pc.index_in(labels, pa.array(list(self._class), TEXT)).fill_null(-1).to_numpy()
        strange = (known < 0) & pc.not_equal(labels, "").to_numpy(zero_copy_only=False)
        strange &= ~pc.is_in(encoded.dictionary, pa.array(list(MARKS), TEXT)).to_numpy(zero_copy_only=False)[rows]
        classes = np.array(list(self._class.values()))[known[known >= 0]]
        unknown = np.bincount(rows[strange], minlength=count) > 0
        labelled = pc.not_equal(encoded.dictionary, UNKNOWN).to_numpy(zero_copy_only=False)
        found = Labels.of_pairs(rows[known >= 0], classes, count)
        return Labels(found.offsets, found.classes, labelled).take(codes), unknown[codes]

    def stranger(self, text: str) -> str:
        """The first of the labels in ``text`` that is no class."""
        labels = (label.strip() for label in text.split(";"))
        return next((label for label in labels if label and label not in self._class), "")

    def key(self, position: int) -> str:
        """What stands for a class in a manifest: its MID, or its name where it has none."""
        label = self.labels[position]
        return label.mid or label.name

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """The vocabulary of the labels that occur in a data set: in alphabetical order, without AudioSet's numbers."""
        return cls(Label(text, text if MID.fullmatch(text) else None) for text in sorted({*texts} - {*MARKS}))

    @classmethod
    def union(cls, vocabularies: Sequence[Vocabulary]) -> Vocabulary:
        """Every class of ``vocabularies`` once: by AudioSet index, then those without one as they come."""
        labels: dict[str, Label] = {}
        for label in (label for vocabulary in vocabularies for label in vocabulary.labels):
            if labels.setdefault(label.mid or label.name, label).index is None:
                labels[label.mid or label.name] = label  # with AudioSet's number and name, if one has them
        return cls(sorted(labels.values(), key=lambda label: 1 << 30 if label.index is None else label.index))

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a vocabulary file, or one of MIDs and names (``mid_to_display_name.tsv`` of AudioSet's strong labels).

        Raises
        ------
        ManifestError
            If it cannot be read, is not such a file, or names a class twice.
        """
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                if Path(path).suffix == ".tsv":
                    return cls([Label(name, mid) for mid, name in csv.reader(file, delimiter="\t")], str(path))
                reader = csv.DictReader(file, skipinitialspace=True)
                missing = set(HEADER) - set(reader.fieldnames or ())
                if missing:
                    raise ManifestError(f"{path}: no column {sorted(missing)[0]!r}; it must have {', '.join(HEADER)}")
                labels = [_label(row) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            raise ManifestError(f"{path}: cannot be read as a CSV of classes: {error}") from None
        return cls(labels, str(path))

    def save(self, path: str | Path) -> None:
        """Write a vocabulary file, atomically."""
        with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            for label in self.labels:
                writer.writerow(("" if label.index is None else label.index, label.mid or "", label.name))


def _label(row: dict[str, str | None]) -> Label:
    index, mid, name = ((row[column] or "").strip() for column in HEADER)
    if not name:
        raise ValueError(f"a class without display_name ({mid or index or 'empty row'})")
    return Label(name, mid or None, int(index) if index else None)
