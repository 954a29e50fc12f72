"""The folds of a data set as manifests: in each, one fold is the test split and the others are for training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.manifest.delimited import read_table
from training.data.manifest.problems import ManifestError
from training.data.manifest.splits import Splitting, hold_out
from training.data.manifest.table import Manifest
from training.data.readers.esc50 import esc50
from training.data.readers.shipped import FREE, shipped

Kind = Literal["esc50", "shipped"]
TABLES = {  # folder of the clips → table with their folds
    "esc50": {"audio": "esc50.csv"},
    "shipped": {
        "esc50/audio": "esc50/esc50.csv",
        "speech/audio": "speech/speech.csv",
        "music/audio": "music/music.csv",
    },
}


def write_folds(kind: Kind, folder: Path, directory: Path, validation_share: float) -> dict[str, Path]:
    """Write ``fold-K.csv`` into ``directory`` for each fold K of a data set (training.data.readers).

    All hold the same clips in the same order, so that they are decoded once. Clips of the shipped set whose licence
    does not allow training are tested in their own fold, and otherwise unused.

    Returns
    -------
    Fold → its manifest, relative to ``directory``.

    Raises
    ------
    ManifestError
        If the data set cannot be read, or ``directory`` holds other folds. No file changes then.
    OutputError
        If a manifest cannot be written.
    """
    whole = Splitting(None, validation_share=0)
    manifest = (esc50 if kind == "esc50" else shipped)(folder, whole)
    fold_of = {
        os.path.abspath(folder / audio / row["filename"]): row["fold"]
        for audio, table in TABLES[kind].items()
        for row in read_table(folder / table, ("filename", "fold"))
    }
    folds = [fold_of[path] for path in manifest.paths]
    free = np.ones(len(folds), bool)
    if kind == "shipped":
        licensed = np.isin(list(manifest.licenses), FREE)
        free = licensed | ~np.char.startswith(np.array(list(manifest.groups)), "esc50:")
    paths = {fold: Path(f"fold-{fold}.csv") for fold in sorted(set(folds))}
    made = {
        path: manifest.with_splits(fold_splits(manifest, folds, fold, free, validation_share))
        for fold, path in paths.items()
    }
    for path, one in made.items():
        _refuse_other(directory / path, one)
    for path, one in made.items():
        one.save(directory / path)
    return paths


def _refuse_other(path: Path, manifest: Manifest) -> None:
    """Raise :class:`ManifestError` if there is a manifest at ``path`` that differs from ``manifest``."""
    if path.exists() and Manifest.load(path).sha256() != manifest.sha256():
        raise ManifestError(
            f"{path}: is a fold of other data or with another --validation-share; give the same as before, or name "
            "another --run"
        )


def fold_splits(
    manifest: Manifest,
    folds: Sequence[str],
    fold: str,
    free: NDArray[np.bool_],
    validation_share: float,
) -> list[str]:
    """The split of every clip when ``fold`` is the test split.

    The other clips are for training, and validation is drawn from them by group (``hold_out``). Clips that are not
    ``free`` [clips], and clips of a group that has a clip in the fold, have no split.
    """
    test = np.array(folds) == fold
    groups = np.array(list(manifest.groups))
    leaking = (groups != "") & np.isin(groups, groups[test])
    training = np.flatnonzero(~test & free & ~leaking)
    splits = np.where(test, "test", "").astype(object)
    held = manifest.take(training).with_splits(["train"] * len(training))
    splits[training] = list(hold_out(held, "validation", validation_share).splits)
    return list(splits)
