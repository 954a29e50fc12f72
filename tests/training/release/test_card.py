"""Sections of a card for runs that lack something, and the options that its commands repeat."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.training.conftest import untrained_run
from training.data.manifest.table import Manifest
from training.release.card.sections import (
    confusion_section,
    option_value,
    seed_option,
    single_label_predictions,
    source_accuracy,
    summary_section,
)


def test_options_are_read_from_the_command_of_a_run() -> None:
    config = {"command": "sedkit-train secost --directory 'my run' --name=birds"}
    assert option_value(config, "--directory", "RUN") == "'my run'"
    assert option_value(config, "--name", "x") == "birds"
    assert option_value(config, "--manifest", "MANIFEST") == "MANIFEST"
    assert [seed_option({"seed": 3}), seed_option({"seed": 0}), seed_option({})] == [" --seed 3", "", ""]


def test_a_run_without_test_clips_of_a_single_sound_has_no_accuracy(small_manifest: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(small_manifest)
    every = ";".join(label.name for label in manifest.vocabulary.labels)
    rows = [row._replace(labels=every) if row.split == "test" else row for row in manifest.rows()]
    Manifest.from_rows(rows, manifest.vocabulary, Path()).save(tmp_path / "chords.csv")
    run = untrained_run(tmp_path / "chords.csv", tmp_path / "run")
    test = single_label_predictions(run, np.zeros((6, 3), np.float32))
    assert not len(test.truth)
    assert source_accuracy(test) == confusion_section(run, test) == []
    reports = [{"test": {"clips": 6, "accuracy": None, "mAP": 0.5, "classes": []}}] * 2
    assert "On 6 held-out clips: mAP 0.500 (Teacher-0: mAP 0.500)." in summary_section(run, reports, test)[0]
