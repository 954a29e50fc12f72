"""``sedkit info`` and ``sedkit models``, and the facts about models that they show."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sedkit.cli import describe
from sedkit.contract import Contract, metadata_of
from sedkit.inference.installed import find_model
from tests.conftest import LABELS
from tests.sedkit.cli.test_commands import ALL, objects


def test_info(sedkit, clips: Path, model_path: Path):
    result = sedkit("info", clips / "a.wav", model_path, clips / "broken.wav", model=None)
    assert result.exit_code == 1
    for text in ("44100 Hz", "2.500 s", "CC0-1.0", "5 classes", "Our kettle"):
        assert text in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("sedkit: error: ")


def test_info_json(sedkit, clips: Path, model_path: Path):
    audio, model = objects(sedkit("info", clips / "b.flac", model_path, "--format", "json", model=None))
    assert audio["sample_rate"] == 16000
    assert audio["duration"] == 4.0
    assert [label["name"] for label in model["labels"]] == [label.name for label in LABELS]
    thresholds = {"threshold": 0.5, "timeline_threshold": 0.5}
    assert model["labels"][4] == {"name": "Our kettle", "mid": None, "index": None, **thresholds}
    assert model["segment_hop"] == 5120


def test_info_json_names_the_file_that_is_used_here(sedkit, model_path: Path):
    named, by_path = objects(sedkit("info", "wels-secost", model_path, "--format", "json", model=None))
    used = Path(named["used_here"])
    assert used == find_model("wels-secost")
    text = sedkit("info", "wels-secost", model=None).stdout
    assert ("used here" in text) == (used != Path(named["file"]))
    assert f"{used.stem}, whose thresholds are its own" in text or used == Path(named["file"])
    assert by_path["used_here"] == by_path["file"] == str(model_path)


def test_info_about_what_matches_a_pattern(sedkit, clips: Path):
    result = sedkit("info", clips / "*.wav", clips / "none*.wav", "-f", "json", model=None)
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [str(clips / "a.wav")]
    first, second = result.stderr.splitlines()
    assert "broken.wav: not audio" in first
    assert "none*.wav: no such file" in second
    assert "save it to a file first" in sedkit("info", "-", model=None).stderr


def test_models(sedkit, model_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sedkit.inference.installed.installed_models", lambda: [model_path])
    (found,) = objects(sedkit("models", "--format", "json", model=None))
    assert found == {
        "name": "test",
        "purpose": None,
        "default": False,
        "precision": "fp32",
        "size": model_path.stat().st_size,
        "width": None,
        "multiply_adds": None,
        "classes": ALL,
        "license": "CC0-1.0",
        "metrics": {},
        "path": str(model_path),
        "labels": [label.name for label in LABELS],
    }
    assert str(model_path) in sedkit("models", model=None).stdout


def test_second_installed_model(sedkit, clips: Path, model_path: Path, tmp_path: Path, monkeypatch):
    """It is listed with its metadata; ``info`` and ``tag`` accept its short name."""
    monkeypatch.setattr("sedkit.inference.installed.__file__", str(tmp_path / "sedkit" / "inference" / "installed.py"))
    (tmp_path / "models").mkdir()
    onnx, description = pytest.importorskip("onnx"), Contract.from_metadata(metadata_of(model_path))
    metrics = {"test": {"accuracy": 0.9012, "mAP": 0.85}}
    for name, lineage in (
        ("wels-secost", {"width": 1.0, "multiply_adds": 5_480_000_000, "metrics": metrics}),
        ("wels-secost-small", {"width": 0.25}),
        ("wels-secost-tiny", {"width": [4, 8, 8, 8, 16, 16]}),
    ):
        model = onnx.load(model_path)
        onnx.helper.set_model_props(model, replace(description, name=name, lineage=lineage).to_metadata())
        onnx.save(model, tmp_path / "models" / f"{name}.onnx")
    listed = sedkit("models", model=None).stdout
    first, second, third = listed.split("\n\n")
    megabytes = f"{(tmp_path / 'models' / 'wels-secost.onnx').stat().st_size / 1e6:.1f} MB"
    assert first.startswith("wels-secost (default)\n")
    for text in (
        megabytes,
        "width 1, 5,480 million multiply-adds for 10 s",
        "5 (sedkit",
        "accuracy with one label 0.901, mAP 0.85",
    ):
        assert text in first
    assert re.search(r"for +155 classes", first)
    assert second.startswith("wels-secost-small\n")
    assert not re.search(r"^ *for ", third, re.MULTILINE)
    assert re.search(r"network +width 0\.25\n", second)
    assert re.search(r"network +filters 4,8,8,8,16,16\n", third)
    widths = [found["width"] for found in objects(sedkit("models", "-f", "json", model=None))]
    assert widths == [1.0, 0.25, [4, 8, 8, 8, 16, 16]]
    assert sedkit("info", "small", model=None).stdout.startswith("wels-secost-small\n")
    assert sedkit("tag", clips / "a.wav", model="small").exit_code == 0
    refused = sedkit("tag", clips / "a.wav", model="smaller")
    assert (refused.exit_code, refused.stderr) == (
        1, "sedkit: error: smaller: no such model; installed: wels-secost, wels-secost-small, wels-secost-tiny\n"
    )  # fmt: skip


def test_lineage_of_a_fine_tuned_model_names_the_source_only():
    source = {"run": "first", "network": "generation 2, width 1", "settings": {"epochs": 9}, "begun_with": None}
    values = {"git_revision": "abc", "width": 1.0, "settings": {}, "teachers": {}, "begun_with": source}
    assert describe.lineage(values) == {"git revision": "abc", "fine-tuned from": "first, generation 2, width 1"}
    assert describe.lineage({"seed": 0, "begun_with": None}) == {"seed": 0}


def test_measured_effect_of_int8():
    lost = {"clips": 9, "mAP": 0.00104, "accuracy": -0.01, "largest_difference": 0.0436, "mean_difference": 0.000176}
    rows = describe.quantisation({"quantisation": {"loss": {"test": lost}}})
    assert rows == {"int8 - fp32, test": "mAP -0.0010, accuracy +0.0100, scores 0.0002 on average, 0.044 at most"}
    assert describe.quantisation({}) == {}


def test_no_models(sedkit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sedkit.inference.installed.installed_models", list)
    result = sedkit("models", model=None)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no model is installed" in result.stderr
