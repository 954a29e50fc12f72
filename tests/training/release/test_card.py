"""Sections of a card for runs that lack something, measurements that do not fit it, and options that it repeats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sedkit.contract import Contract, metadata_of
from sedkit.errors import SedkitError
from tests.training.conftest import untrained_run
from training.data.manifest.table import Manifest
from training.release.card import timelines_section
from training.release.card.scores_sections import robustness_section, unknown_section
from training.release.card.sections import (
    confusion_section,
    figures,
    generations,
    option_value,
    rebuild_section,
    seed_option,
    single_label_predictions,
    source_accuracy,
    summary_section,
)
from training.release.card.timelines_section import read_timelines
from training.runtime.files import sha256, write_json


def test_options_are_read_from_the_command_of_a_run() -> None:
    config = {"command": "sedkit-train secost --directory 'my run' --name=birds"}
    assert option_value(config, "--directory", "RUN") == "'my run'"
    assert option_value(config, "--name", "x") == "birds"
    assert option_value(config, "--manifest", "MANIFEST") == "MANIFEST"
    assert [seed_option({"seed": 3}), seed_option({"seed": 0}), seed_option({})] == [" --seed 3", "", ""]


def test_the_commands_of_a_card_repeat_the_options_of_the_calibration(model_path: Path, tmp_path: Path) -> None:
    about = Contract.from_metadata(metadata_of(model_path))
    config: dict[str, Any] = {"command": "sedkit-train secost --manifest a.csv --run r --name x", "vocabulary": None}
    config |= {"git_revision": "abc", "versions": {"torch": "2"}, "manifest_sha256": "data"}
    done = {"clips": 9, "at_most": 9, "soundscapes": 60, "seed": 3, "unknown": 0.5, "git_revision": "abc"}

    def calibration(**changed: Any) -> str:
        write_json(tmp_path / "config.json", config)
        lineage = {**about.lineage, "calibrated_on": done | changed}
        lines = rebuild_section(tmp_path, replace(about, name="x", lineage=lineage))
        return next(line for line in lines if "calibrate" in line).removeprefix("sedkit-train calibrate r/model.onnx ")

    assert calibration() == "--manifest a.csv --clips 9 --soundscapes 60 --unknown 0.5 --seed 3"
    assert calibration(at_most=5000, seed=0, unknown=None) == "--manifest a.csv --soundscapes 60"
    assert calibration(manifest_sha256="data") == calibration()
    assert calibration(manifest_sha256="other").startswith("--manifest OTHER-MANIFEST --clips 9 ")
    config |= {"vocabulary": "/somewhere/my classes.csv"}
    assert calibration(seed=0) == "--manifest a.csv --vocabulary CLASSES --clips 9 --soundscapes 60 --unknown 0.5"
    config["command"] += " --set 'vocabulary=my classes.csv'"
    assert calibration(at_most=5000) == (
        "--manifest a.csv --vocabulary 'my classes.csv' --soundscapes 60 --unknown 0.5 --seed 3"
    )


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
    measured = {"clips": 6, "accuracy": 0.25, "mAP": 0.5, "single_label_clips": 4}
    assert figures(measured) == "mAP 0.500, accuracy 0.250 on the 4 clips with a single label"
    assert figures(measured | {"single_label_clips": 6}) == "mAP 0.500, accuracy 0.250"


def test_measurements_of_another_split_or_data_set_are_not_on_the_card(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"a model")
    about: dict[str, Any] = {"model_sha256": sha256(model), "manifest_sha256": "data", "seed": 0}
    measured = {"condition": "clean", "clips": 3, "mAP": 0.9, "accuracy": 0.9}
    known = {"unknown": 3, "known": 3, "curve": [], "most_false_at_0.5": []}

    def write(about: dict[str, Any]) -> None:
        write_json(tmp_path / "robustness.json", about | {"conditions": [measured]})
        write_json(tmp_path / "unknown.json", [about | known])

    run: Any = SimpleNamespace(directory=tmp_path, data="data")
    contract: Any = SimpleNamespace(lineage={})
    for section in (robustness_section, lambda run, model: unknown_section(run, model, contract)):
        write(about | {"split": "validation"})
        with pytest.raises(SedkitError, match="measured on the split 'validation', and a card needs 'test'"):
            section(run, model)
        for other in (about | {"manifest_sha256": "other"}, {key: about[key] for key in ("model_sha256", "seed")}):
            write(other | {"split": "test"})
            with pytest.raises(SedkitError, match="n: measured on other data than the run's, or before files"):
                section(run, model)
        write(about | {"split": "test"})
        assert section(run, model)
    write(about | {"split": "test", "manifest_sha256": "wider"})
    contract.lineage["calibrated_on"] = {"manifest_sha256": "wider"}
    assert "calibrated on another data set" in unknown_section(run, model, contract)[2]


def test_the_card_names_the_generation_that_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be an earlier one than the last student."""
    (tmp_path / "report.md").write_text("a table\n")
    monkeypatch.setattr("training.release.card.sections.origin", lambda *_: "student 1")
    monkeypatch.setattr("training.release.card.sections.ended_early", lambda *_: "")
    rows = [{"test": {"mAP": mean, "accuracy": None, "clips": 3}} for mean in (0.5, 0.6)]
    text = "\n".join(generations(SimpleNamespace(directory=tmp_path, seed=0), rows))  # type: ignore[arg-type]
    assert "From Teacher-0 to student 1, test mAP changes from 0.500 to 0.600 (+20.0% relative)." in text


def test_timelines_with_bouts_and_other_settings(tmp_path: Path) -> None:
    """The card has the model's own settings, and its commands make the same recordings."""
    model = tmp_path / "model.onnx"
    model.write_bytes(b"a model")
    recipe: dict[str, Any] = {"seconds": 600.0, "events": [1, 5], "longest": 5.0, "overlap": 2, "snr": [3.0, 25.0]}
    recipe |= {"background": [-50.0, -30.0], "bouts": [8, 16], "count": 9, "seed": 0, "backgrounds": []}
    recipe |= {"split": "test", "manifest_sha256": "data"}
    systems = [("model.onnx", sha256(model)), ("model.onnx, mine.toml", sha256(model)), ("YAMNet", None)]
    report = {"soundscapes": "field", "recipe": recipe, "split": "test", "recordings": 9, "events": 20, "classes": 3}
    figures = dict.fromkeys(timelines_section.COLUMNS, 0.5)
    write_json(
        tmp_path / "timelines.json",
        report | {"systems": [{"system": name, "model_sha256": hashed, **figures} for name, hashed in systems]},
    )
    read = read_timelines(SimpleNamespace(directory=tmp_path, data="data"), model, "mine")  # type: ignore[arg-type]
    assert read is not None
    assert read["systems"] == [
        {"system": "mine", "model_sha256": sha256(model), **figures},
        {"system": "YAMNet", "model_sha256": None, **figures},
    ]
    making, _ = timelines_section.commands(read, "run", "all.csv")
    assert making == "data soundscapes all.csv --split test --count 9 --seconds 600 --bouts 8 16 --output field"
