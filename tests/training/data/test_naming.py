"""Names of clips and of their recordings."""

from __future__ import annotations

from pathlib import Path

from sedkit.contract import Label
from training.data.manifest.naming import clip_names, recordings
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary


def test_parts_of_a_file_have_names_of_their_own_and_one_recording() -> None:
    rows = [
        Row("rec.wav", labels="Dog", start="0", duration="10"),
        Row("rec.wav", labels="Dog", start="10", duration="10"),
        Row("whole.wav", labels="Dog", group="walk"),
    ]
    manifest = Manifest.from_rows(rows, Vocabulary([Label("Dog")]), Path("/data"))
    assert clip_names(manifest) == ["rec.wav 0.0 10.0", "rec.wav 10.0 10.0", "whole.wav"]
    assert recordings(manifest) == ["rec.wav", "rec.wav", "walk"]
