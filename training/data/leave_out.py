"""Leave classes out of a data set, to measure how a model trained on the rest answers to them (open set)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sedkit import ontology
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import NONE, UNKNOWN, Vocabulary


class Parted(NamedTuple):
    """A data set in two parts, with one vocabulary: its classes without those left out.

    Attributes
    ----------
    rest : the clips in which no class that is left out sounds, in any split. From ``train`` and ``validation``, clips
        in which one *may* sound (``?NAME``) are missing, too.
    left : the test clips in which one sounds. Their other classes stay; a clip without any contains none of the
        classes (``-``).
    """

    rest: Manifest
    left: Manifest


def leave_out(manifest: Manifest, names: Sequence[str]) -> Parted:
    """Part a data set by classes.

    Parameters
    ----------
    names : MIDs or names of classes. The classes below them in AudioSet's ontology are left out with them.

    Raises
    ------
    ManifestError
        If a class is not in the vocabulary, if no class remains, or if a part has no clips.
    """
    gone = _with_children(manifest.vocabulary, names)
    if len(gone) == len(manifest.vocabulary):
        raise ManifestError("all classes of the manifest are left out: leave out fewer")
    vocabulary = Vocabulary(label for at, label in enumerate(manifest.vocabulary.labels) if at not in gone)
    keys = {manifest.vocabulary.key(at) for at in gone}
    rest: list[Row] = []
    left: list[Row] = []
    for row in manifest.rows():
        labels = row.labels.split(";")
        others = [label for label in labels if label.removeprefix(UNKNOWN) not in keys]
        kept, sounds = row._replace(labels=_joined(others)), not keys.isdisjoint(labels)
        if row.split == "test":
            (left if sounds else rest).append(kept)
        elif len(others) == len(labels):
            rest.append(kept)
    if not left:
        raise ManifestError("no test clip contains a class that is left out; give the manifest a test split")
    return Parted(*(Manifest.from_rows(part, vocabulary, Path()) for part in (rest, left)))


def _with_children(vocabulary: Vocabulary, names: Iterable[str]) -> set[int]:
    """Positions of classes and of those below them."""
    gone: set[int] = set()
    for name in names:
        if (place := vocabulary.find(name)) is None:
            raise ManifestError(f"{name!r} is not a class of the manifest; its labels file lists them")
        below = ontology.load().below(vocabulary.labels[place].mid or "")
        gone |= {place} | {at for at, label in enumerate(vocabulary.labels) if label.mid in below}
    return gone


def _joined(labels: Sequence[str]) -> str:
    """Labels as a text; ``-`` precedes them if none is certain."""
    certain = any(label == UNKNOWN or not label.startswith(UNKNOWN) for label in labels)
    return ";".join(labels if certain else [NONE, *labels])
