"""Folds of a data set: no group lies in two splits, and clips without a free licence are only tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.manifest.table import Manifest
from training.runs.experiments.folds import fold_splits, write_folds


def test_folds_of_esc50_do_not_leak(esc50: Path, tmp_path: Path) -> None:
    folds = write_folds("esc50", esc50, tmp_path, 0.2)
    assert list(folds) == ["1", "2", "3", "4", "5"]
    manifests = [Manifest.load(tmp_path / path) for path in folds.values()]
    tested = [path for manifest in manifests for path in manifest.select("test").paths]
    assert len(tested) == len(set(tested)) == 40
    assert len({tuple(manifest.paths) for manifest in manifests}) == 1  # so they are decoded once
    for manifest in manifests:
        test, validation, train = (set(manifest.select(split).groups) for split in ("test", "validation", "train"))
        assert validation
        assert not test & validation | test & train | validation & train
    assert sum(manifest.splits.count("") for manifest in manifests) == 4  # of the two sources that lie in two folds


def test_clips_without_a_free_licence_are_tested_but_not_trained_on(small_manifest: Path) -> None:
    manifest = Manifest.load(small_manifest)
    folds = [str(row % 3) for row in range(len(manifest))]
    free = np.arange(len(manifest)) % 4 != 0
    splits = np.array(fold_splits(manifest, folds, "0", free, 0.2))
    test = np.array(folds) == "0"
    assert (splits[test] == "test").all()
    assert (splits[~test & ~free] == "").all()
    assert set(splits[~test & free]) == {"train", "validation"}
