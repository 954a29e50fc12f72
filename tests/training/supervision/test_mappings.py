"""Rules that make a recording's score of those of its segments, and the table that compares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from training.evaluate.commands import main
from training.evaluate.mappings import MAPPINGS, heard


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("mean", 0.4),
        ("maximum", 0.9),
        ("root of the mean square", np.sqrt((0.01 + 0.04 + 0.16 + 0.81) / 4)),
        ("mean of the higher half", 0.65),
        ("linear softmax", (0.01 + 0.04 + 0.16 + 0.81) / 1.6),
    ],
)
def test_each_mapping_by_hand(name: str, score: float) -> None:
    segments = np.array([[0.4, 0.2], [0.1, 0.2], [0.9, 0.2], [0.2, 0.2]], np.float32)
    np.testing.assert_allclose(MAPPINGS[name](segments), [score, 0.2], rtol=1e-6)


def test_mappings_lie_between_mean_and_maximum_of_what_is_heard() -> None:
    segments = np.random.default_rng(0).random((9, 4), np.float32)
    padded = np.concatenate([segments, np.zeros((5, 4), np.float32)])
    np.testing.assert_array_equal(heard(padded), segments)
    assert heard(padded[9:]).shape == (1, 4)
    for mapping in MAPPINGS.values():
        assert (mapping(segments) >= segments.mean(0) - 1e-6).all()
        assert (mapping(segments) <= segments.max(0) + 1e-6).all()
    assert not any(mapping(heard(padded[9:])).any() for mapping in MAPPINGS.values())


def test_the_table_has_the_mean_as_the_report_has_it(run: Path, small_manifest: Path) -> None:
    result = CliRunner().invoke(main, ["mappings", str(run / "model.onnx"), "--manifest", str(small_manifest)])
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.stdout.splitlines()[2:]]
    assert len(rows) == 2 * len(MAPPINGS)
    assert [row[2] for row in rows] == [*MAPPINGS] * 2
    report = CliRunner().invoke(main, ["run", str(run)]).output
    for row in (rows[0], rows[len(MAPPINGS)]):
        assert f"| {row[3]} |" in report, "the mAP of the mean"


def test_a_model_of_other_classes_is_one_line(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    clip = next(small_manifest.parent.glob("*.wav"))
    (tmp_path / "set.csv").write_text(f"path,labels,split\n{clip},/m/nothing,test\n")
    (tmp_path / "set.labels.csv").write_text("index,mid,display_name\n0,/m/nothing,Nothing\n")
    result = CliRunner().invoke(main, ["mappings", str(run / "model.onnx"), "--manifest", str(tmp_path / "set.csv")])
    assert result.exit_code == 1
    assert "the model does not know 1 of the classes (Nothing)" in result.stderr
