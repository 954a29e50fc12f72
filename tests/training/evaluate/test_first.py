"""How often the highest tag is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner

from tests.conftest import make_sound
from training.evaluate.commands import main
from training.evaluate.first import first_tags


def test_shares_of_right_and_wrong_tags() -> None:
    targets = np.array([[1, 0], [0, 1], [0, 0], [np.nan, 0]], np.float32)
    scores = np.array([[0.9, 0.2], [0.4, 0.1], [0.2, 0.1], [0.8, 0.3]])
    assert first_tags(targets, scores) == {"right": [0.25, 0.25, 0.25], "wrong": [0.5, 0.25, 0.0]}


def test_the_highest_tags_of_a_model(model_path: Path, tmp_path: Path) -> None:
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", make_sound(2, seed=ord(name)), 16_000)
    (tmp_path / "set.csv").write_text("path,labels,split\na.wav,/m/0bt9lr,test\nb.wav,-,test\n")
    (tmp_path / "set.labels.csv").write_text("index,mid,display_name\n74,/m/0bt9lr,Dog\n")
    report = tmp_path / "report.json"
    arguments = ["first", str(model_path), "--manifest", str(tmp_path / "set.csv"), "--json", str(report)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "2 clips"
    (found,) = json.loads(report.read_text())["models"]
    assert found["model"] == model_path.stem
    assert all(0 <= share <= 1 for share in found["right"] + found["wrong"])
    nothing = CliRunner().invoke(main, [*arguments, "--clips", "z"])
    assert nothing.exit_code == 1
    assert "no clips z* in the split 'test'" in nothing.output
