"""False tags of sounds that a model does not know."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner

from sedkit.tagger import Tagger
from tests.conftest import make_sound
from training.data.manifest.table import Manifest
from training.evaluate.commands import main
from training.evaluate.unknown import open_set, shares


def test_curve_counts_false_tags_of_unknown_and_known_clips() -> None:
    targets = np.array([[1, 0], [0, 0], [0, np.nan], [np.nan, np.nan]], np.float32)
    scores = np.array([[0.95, 0.45], [0.55, 0.0], [0.05, 0.99], [0.99, 0.99]])
    result = open_set(targets, scores)
    assert (result["unknown"], result["known"]) == (2, 1)  # nothing is known of the last clip
    at = {row["threshold"]: row for row in result["curve"]}
    assert at[0.5] == {"threshold": 0.5, "unknown_tagged": 0.5, "found": 1.0, "false_on_known": 0.0}
    assert at[0.4]["false_on_known"] == 1.0
    assert at[0.6]["unknown_tagged"] == 0.0
    assert shares(targets, scores >= 0.5) == {
        key: at[0.5][key] for key in ("unknown_tagged", "found", "false_on_known")
    }


def test_command_compares_models_on_a_manifest_of_other_classes(model_path: Path, tmp_path: Path) -> None:
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", make_sound(2, seed=ord(name)), 16_000)
    (tmp_path / "set.csv").write_text("path,labels,split\na.wav,/m/0bt9lr,test\nb.wav,-,test\n")
    (tmp_path / "set.labels.csv").write_text("index,mid,display_name\n74,/m/0bt9lr,Dog\n,,Goose\n")
    report = tmp_path / "report.json"
    arguments = ["unknown", str(model_path), "--manifest", str(tmp_path / "set.csv"), "--json", str(report)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "| 1 unknown clips with a false tag | 1 known clips with a right tag |" in result.output
    one = json.loads(report.read_text())[0]
    assert one["curve"][4]["threshold"] == 0.5
    assert "| events, at the model's thresholds | " in result.output
    kinds = [{event.label for event in Tagger(model_path).timeline(tmp_path / f"{name}.wav").events} for name in "ab"]
    assert one["events"] == {
        "unknown_tagged": float("Dog" in kinds[1]),
        "found": float("Dog" in kinds[0]),
        "false_on_known": 0.0,
    }
    assert one["manifest_sha256"] == Manifest.load(tmp_path / "set.csv").sha256()
    assert CliRunner().invoke(main, [*arguments, "--split", "validation"]).exit_code == 1
