"""Classes that another model detects without a label become unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from sedkit.contract import Label
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.supervision.teacher_commands import main
from training.supervision.unchecked import mark_unchecked


def test_only_detected_classes_without_a_label_become_unknown() -> None:
    vocabulary = Vocabulary([Label("Dog", "/m/0bt9lr"), Label("Cat", "/m/01yrx"), Label("Kettle")])
    rows = [Row(f"{n}.wav", labels=labels, split="train") for n, labels in enumerate(["Dog", "-", "Cat;?Dog", "?"])]
    manifest = Manifest.from_rows(rows, vocabulary, Path("/data"))
    scores = np.array([[0.9, 0.9], [0.1, 0.5], [0.0, 0.0], [0.9, 0.9]], np.float32)
    marked = mark_unchecked(manifest, scores, [Label("Cat"), Label("Dog")], 0.3)
    expected = [[1, np.nan, 0], [np.nan, 0, 0], [np.nan, 1, 0], [np.nan, np.nan, np.nan]]
    np.testing.assert_array_equal(marked.targets(), np.array(expected, np.float32))
    assert marked.labels.known.tolist() == [True, True, True, False]


def test_the_manifest_that_is_read_is_not_replaced(tmp_path: Path) -> None:
    for name in ("yamnet.tflite", "wide.csv"):
        (tmp_path / name).write_text("mine")
    arguments = ["unchecked", "--model", "yamnet.tflite", "--manifest", "wide.csv", "--output", "wide.csv"]
    given = [str(tmp_path / word) if "." in word else word for word in arguments]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2
    assert "wide.csv is read, and would be replaced; choose another --output" in result.output
    assert (tmp_path / "wide.csv").read_text() == "mine"
