"""benchmarks.growth measures whole commands; its tables have one row per size."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.audio import Recordings
from training.data.manifest.table import Manifest


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    return Recordings(tmp_path / "none")


def test_the_manifest_that_is_measured_is_valid(tmp_path: Path):
    manifest = Manifest.load(growth.write_manifest(tmp_path / "manifest.csv", 2000))
    assert len(manifest) == 2000
    assert len(manifest.indices("test")) == 200
    assert manifest.labels.lengths.min() >= 1


@pytest.mark.slow
def test_costs_of_recordings_and_rows(tmp_path: Path, recordings: Recordings):
    head, *rows = growth.by_recordings(tmp_path, recordings, 0.001)
    assert [row[0] for row in rows] == ["8", "10", "100"]
    assert all(len(row) == len(head) and float(row[-1]) > 20 for row in rows)
    assert len((tmp_path / "100.csv").read_text().splitlines()) > 8
    head, *rows = growth.by_rows(tmp_path, recordings, 1e-5)
    assert [row[0] for row in rows] == ["8", "8", "8", "10", "100"]
