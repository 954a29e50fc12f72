"""Folds of a data set as manifests, one a fold: it is the test split, the others are learnt from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.readers import datasets as readers
from training.data.manifest.table import Manifest
from training.data.manifest.problems import ManifestError
from training.data.manifest.splits import hold_out, parts
from training.data.readers.tables import read_table

Kind = Literal["esc50", "shipped"]
TABLES = {  # folder of the clips → table that says their folds
    "esc50": {"audio": "esc50.csv"},
    "shipped": {
        "esc50/audio": "esc50/esc50.csv",
        "speech/audio": "speech/speech.csv",
        "music/audio": "music/music.csv",
    },
}


def write_folds(kind: Kind, folder: Path, directory: Path, validation_share: float) -> dict[str, Path]:
    """Write ``fold-K.csv`` into ``directory`` for each fold K of a data set (``training.data.readers.datasets``).

    All hold the same clips in the same order, so that they are decoded once. Of the shipped set, clips that are not
    free to learn from are tested on, in their own fold, and nothing else.

    Returns
    -------
    Fold → its manifest, from ``directory``.

    Raises
    ------
    ManifestError
        If the data set cannot be read.
    OutputError
        If a manifest cannot be written.
    """
    whole = readers.Splitting(None, validation_share=0)
    manifest = (readers.esc50 if kind == "esc50" else readers.shipped)(folder, whole)
    fold_of = {
        os.path.abspath(folder / audio / row["filename"]): row["fold"]
        for audio, table in TABLES[kind].items()
        for row in read_table(folder / table, ("filename", "fold"))
    }
    folds = [fold_of[path] for path in manifest.paths]
    free = np.ones(len(folds), bool)
    if kind == "shipped":
        licensed = np.isin(list(manifest.licenses), readers.FREE)
        free = licensed | ~np.char.startswith(np.array(list(manifest.groups)), "esc50:")
    paths = {}
    for fold in sorted(set(folds)):
        paths[fold] = Path(f"fold-{fold}.csv")
        splits = fold_splits(manifest, folds, fold, free, validation_share)
        manifest.with_splits(splits).save(directory / paths[fold])
    return paths


def fold_splits(
    manifest: Manifest,
    folds: Sequence[str],
    fold: str,
    free: NDArray[np.bool_],
    validation_share: float,
) -> list[str]:
    """Split of every clip where ``fold`` is tested on.

    The other clips are learnt from, but for those that are not ``free`` [clips] and those of a group of which a clip
    is in the fold: they have no split. Validation is drawn from the former (``splits.hold_out``).
    """
    test = np.array(folds) == fold
    groups = np.array(list(manifest.groups))
    leaking = (groups != "") & np.isin(groups, groups[test])
    learnt = np.flatnonzero(~test & free & ~leaking)
    splits = np.where(test, "test", "").astype(object)
    held = manifest.take(learnt).with_splits(["train"] * len(learnt))
    splits[learnt] = list(hold_out(held, "validation", validation_share).splits)
    return list(splits)


def write_parts(manifest: Manifest, count: int, directory: Path) -> dict[str, Path]:
    """Write ``fold-K.csv`` into ``directory`` for each of ``count`` parts of the training split (``parts``).

    A part is the test split of its manifest and the others are learnt from; validation is as it was, and what else is
    labelled has no split. All hold the same clips in the same order, those that are labelled.

    Returns
    -------
    Fold → its manifest, from ``directory``.

    Raises
    ------
    ManifestError
        If the training split has fewer groups than that.
    OutputError
        If a manifest cannot be written.
    """
    manifest = manifest.take(np.flatnonzero(manifest.labels.known))
    part = parts(manifest, count)
    splits = np.where(manifest.splits.equals("validation"), "validation", "").astype(object)
    splits[part >= 0] = "train"
    paths = {}
    for number in range(count):
        fold = str(number + 1)
        paths[fold] = Path(f"fold-{fold}.csv")
        manifest.with_splits(list(np.where(part == number, "test", splits))).save(directory / paths[fold])
    return paths
