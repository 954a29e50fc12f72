"""Models compared on the classes that all of them know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner

from sedkit.contract import Label
from tests.conftest import make_sound
from training.data.manifest.table import Manifest
from training.evaluate.commands import main
from training.evaluate.known import Shared, measure, report_lines


def test_models_are_compared_on_clips_of_classes_that_all_know(model_path: Path, tmp_path: Path) -> None:
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", make_sound(2, seed=ord(name)), 16_000)
    (tmp_path / "set.csv").write_text(
        "path,labels,split\na.wav,/m/0jbk;/m/0bt9lr,test\nb.wav,Goose,test\nc.wav,/m/0bt9lr,train\n"
    )
    (tmp_path / "set.labels.csv").write_text("index,mid,display_name\n72,/m/0jbk,Animal\n74,/m/0bt9lr,Dog\n,,Goose\n")
    report = tmp_path / "report.json"
    arguments = ["known", *[str(model_path)] * 2, "--manifest", str(tmp_path / "set.csv"), "--json", str(report)]
    arguments += ["--save", str(tmp_path / "shared.csv")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "1 clips, 1 classes" in result.output
    found = json.loads(report.read_text())
    assert found["classes"] == ["Dog"]
    assert [row["accuracy"] for row in found["models"]] == [1.0, 1.0]
    shared = Manifest.load(tmp_path / "shared.csv")
    assert [label.name for label in shared.vocabulary.labels] == ["Dog"]
    assert [(row.path, row.labels, row.split) for row in shared.rows(str(tmp_path))] == [("a.wav", "/m/0bt9lr", "test")]
    nothing = CliRunner().invoke(main, [*arguments, "--clips", "b"])
    assert nothing.exit_code == 1
    assert "no clip of the split 'test' is of a class that all models know" in nothing.output


def test_classes_are_matched_by_name_where_the_manifest_has_no_mids(model_path: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", make_sound(2), 16_000)
    (tmp_path / "set.csv").write_text("path,labels,split\na.wav,dog,test\n")
    (tmp_path / "set.labels.csv").write_text("index,mid,display_name\n,,dog\n")
    for command in ("known", "unknown", "first"):
        arguments = [command, str(model_path), "--manifest", str(tmp_path / "set.csv"), "--json", str(tmp_path / "out")]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    (tmp_path / "set.csv").write_text("path,labels,split\na.wav,Goose,test\n")
    (tmp_path / "set.labels.csv").write_text("index,mid,display_name\n,,Goose\n")
    for command in ("unknown", "first"):
        result = CliRunner().invoke(main, [command, str(model_path), "--manifest", str(tmp_path / "set.csv")])
        assert result.exit_code == 1
        assert "none of the model's classes" in result.output


def test_classes_count_by_clips_and_a_class_above_the_right_one_is_nearly_right() -> None:
    labels = [Label("Dog", "/m/0bt9lr"), Label("Bark", "/m/05tny_"), Label("Cat", "/m/01yrx")]
    common = Shared(labels, np.arange(4), np.array([1, 1, 1, 2]))
    targets = np.array([[1, 1, 0], [1, 1, 0], [np.nan, 1, 0], [0, 0, 1]], np.float32)
    scores = np.array([[0.9, 0.8, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.9], [0.2, 0.1, 0.3]])
    found = measure(scores, targets, common)
    assert found["AP"] == [np.mean([1, 2 / 3]), 1.0, 0.5]  # the cat is second among the four
    assert found["clips"] == [2, 3, 1]
    assert found["mAP"] == np.mean(found["AP"])
    assert found["mAP_by_clips"] == (2 * found["AP"][0] + 3 + 0.5) / 6
    assert (found["accuracy"], found["accuracy_or_above"]) == (0.5, 0.75)  # the first bark is called Dog, the third Cat
    other = {**found, "model": "b", "AP": [0.8, 1.0, 0.9]}
    lines = report_lines(common, [{**found, "model": "a"}, other])
    assert lines[-3:] == ["| AP | clips | a | b |", "|---|---|---|---|", "| Cat | 1 | 0.500 | 0.900 |"]
