"""Vocabularies: the ordered classes of a model, with AudioSet index, MID and name.

A vocabulary file is a CSV file ``index,mid,display_name``, the format in which AudioSet publishes its 527 classes
(``class_labels_indices.csv``). The order of the rows is the order of the classes. ``index`` and ``mid`` are empty for
classes that are not AudioSet's.

In a manifest, ``-`` in place of labels means that a clip contains none of the classes, and ``?`` that its labels are
unknown. No class can have these names. ``?`` before a label means that nobody checked whether the class occurs in the
clip; no name can begin with it.
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
from sedkit.formats.delimited import row_writer
from training.data.manifest.columns import TEXT, Labels
from training.data.manifest.problems import ManifestError
from training.runtime.files import replacing

HEADER = ("index", "mid", "display_name")
NONE = "-"  # in place of labels: the clip contains none of the classes
UNKNOWN = "?"  # in place of labels: the clip is unlabelled
MARKS = {NONE: "no class", UNKNOWN: "unknown labels"}
MID = re.compile(r"/[mtg]/\w+")


class Vocabulary:
    """An ordered list of classes that can be looked up by MID or name.

    Raises
    ------
    ManifestError
        If it is empty, or if an index, a MID or a name occurs twice.
    """

    def __init__(self, labels: Iterable[Label], where: str = "vocabulary") -> None:
        self.labels: tuple[Label, ...] = tuple(labels)
        if not self.labels:
            raise ManifestError(f"{where}: no classes in it; it needs one row per class")
        self._class: dict[str, int] = {}
        for kind in ("name", "mid", "index"):
            values = [(getattr(label, kind), position) for position, label in enumerate(self.labels)]
            given = [(value, position) for value, position in values if value is not None]
            for mark in MARKS.keys() & dict(given).keys():
                raise ManifestError(f"{where}: a class is named {mark!r}, which means {MARKS[mark]}; rename it")
            for name in (value for value, _ in given if kind == "name" and value.startswith(UNKNOWN)):
                raise ManifestError(f"{where}: {name!r} begins with {UNKNOWN!r}, which marks labels; rename it")
            if len({value for value, _ in given}) != len(given):
                raise ManifestError(f"{where}: the {kind} of a class occurs twice; each must be unique")
            if kind != "index":
                self._class.update(given)

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.labels == other.labels

    def __hash__(self) -> int:
        return hash(self.labels)

    def find(self, text: str) -> int | None:
        """Position (0 to len - 1) of the class whose MID or name is ``text``, or None."""
        return self._class.get(text)

    def match(self, labels: Sequence[Label]) -> list[int | None]:
        """For each label of another vocabulary, the position of the class with its MID, or else its name; or None.

        Names that differ only in case are the same if no other fits.
        """
        folded = {label.name.casefold(): place for place, label in enumerate(self.labels)}
        named = [self._class.get(label.name, folded.get(label.name.casefold())) for label in labels]
        return [self._class.get(label.mid or "", place) for label, place in zip(labels, named, strict=True)]

    def parse(self, texts: pa.Array) -> tuple[Labels, NDArray[np.bool_]]:
        """Parse a column of labels: MIDs or names separated by ``;``, or ``-`` or ``?``; ``?`` marks unchecked classes.

        Returns
        -------
        labels : the classes of each clip.
        unknown : [clips] bool, True where a label is not in the vocabulary.
        """
        encoded = texts.dictionary_encode()
        count, codes = len(encoded.dictionary), encoded.indices.to_numpy()
        pieces = pc.split_pattern(encoded.dictionary, ";")
        labels = pc.utf8_trim_whitespace(pieces.flatten())
        rows = np.repeat(np.arange(count), pc.list_value_length(pieces).to_numpy(zero_copy_only=False))
        marked = pc.match_substring_regex(labels, rf"^\{UNKNOWN}.").to_numpy(zero_copy_only=False)
        names = pc.if_else(pa.array(marked), pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(labels, 1)), labels)
        known = pc.index_in(names, pa.array(list(self._class), TEXT)).fill_null(-1).to_numpy()
        outside = (known < 0) & pc.not_equal(labels, "").to_numpy(zero_copy_only=False)
        alone = np.bincount(rows[(known >= 0) & ~marked], minlength=count) == 0  # without classes, "-" is allowed
        outside &= ~(pc.equal(labels, NONE).to_numpy(zero_copy_only=False) & alone[rows])
        outside &= ~pc.is_in(encoded.dictionary, pa.array(list(MARKS), TEXT)).to_numpy(zero_copy_only=False)[rows]
        classes = np.array(list(self._class.values()))
        unknown = np.bincount(rows[outside], minlength=count) > 0
        labelled = pc.not_equal(encoded.dictionary, UNKNOWN).to_numpy(zero_copy_only=False)

        def column(chosen: NDArray[np.bool_]) -> Labels:
            return Labels.of_pairs(rows[chosen], classes[known[chosen]], count)

        distinct, unchecked = column((known >= 0) & ~marked), column((known >= 0) & marked)
        return Labels(distinct.offsets, distinct.classes, labelled, unchecked).take(codes), unknown[codes]

    def first_unknown(self, text: str) -> str:
        """The first label in ``text``, separated by ``;``, that is not in the vocabulary; empty if all are."""
        labels = (label.strip() for label in text.split(";"))
        names = ((label, label.removeprefix(UNKNOWN).strip() or label) for label in labels if label)
        return next((label for label, name in names if name not in self._class), "")

    def key(self, position: int) -> str:
        """The text of a class in manifests: its MID, or its name if it has no MID."""
        label = self.labels[position]
        return label.mid or label.name

    @classmethod
    def of(cls, texts: Iterable[str]) -> Vocabulary:
        """The vocabulary of the labels that occur in a data set, in alphabetical order, without AudioSet indices."""
        names = {text.removeprefix(UNKNOWN).strip() for text in texts} - {"", NONE}
        return cls(Label(text, text if MID.fullmatch(text) else None) for text in sorted(names))

    @classmethod
    def union(cls, vocabularies: Sequence[Vocabulary]) -> Vocabulary:
        """All classes of ``vocabularies``: by AudioSet index, then those without one in order of appearance.

        Classes are the same if their MIDs are, or their names where they have no MID.
        """
        labels: dict[str, Label] = {}
        for label in (label for vocabulary in vocabularies for label in vocabulary.labels):
            if labels.setdefault(label.mid or label.name, label).index is None:
                labels[label.mid or label.name] = label  # prefer AudioSet's index and name
        return cls(sorted(labels.values(), key=lambda label: 1 << 30 if label.index is None else label.index))

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a vocabulary file, or a ``.tsv`` file of MIDs and names.

        AudioSet's strong labels come with the latter, ``mid_to_display_name.tsv``.

        Raises
        ------
        ManifestError
            If the file cannot be read, has another format, or contains a class twice.
        """
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                if Path(path).suffix == ".tsv":
                    return cls([Label(name, mid) for mid, name in csv.reader(file, delimiter="\t")], str(path))
                reader = csv.DictReader(file, skipinitialspace=True)
                missing = set(HEADER) - set(reader.fieldnames or ())
                if missing:
                    raise ManifestError(
                        f"{path}: no column {sorted(missing)[0]!r}; the columns must include {', '.join(HEADER)}"
                    )
                labels = [_label(row) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
            raise ManifestError(f"{path}: cannot be read as a CSV file of classes: {error}") from None
        return cls(labels, str(path))

    def save(self, path: str | Path) -> None:
        """Write a vocabulary file, atomically."""
        with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = row_writer(file)
            writer.writerow(HEADER)
            for label in self.labels:
                writer.writerow(("" if label.index is None else label.index, label.mid or "", label.name))


def _label(row: dict[str, str | None]) -> Label:
    index, mid, name = ((row[column] or "").strip() for column in HEADER)
    if not name:
        raise ValueError(f"a class without display_name ({mid or index or 'empty row'})")
    return Label(name, mid or None, int(index) if index else None)
