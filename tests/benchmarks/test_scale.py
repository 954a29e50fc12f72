"""The cost estimate of benchmarks.scale follows from the measurements that it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'sedkit-audio[cluster]'")

from benchmarks import report, scale
from sedkit.cluster.archive import Archive
from sedkit.cluster.partitions import Report, write_partition
from sedkit.cluster.recordings import Recording
from sedkit.cluster.storage import Store


@pytest.fixture
def results() -> dict:
    """Two CPUs take 18 s for an hour of audio and tag 100 files of 5 s per second."""
    hour = {"seconds_of_sound": 3600.0, "seconds": 18.0}
    rows = [
        {"benchmark": 4, "name": "YAMNet, fastest configuration / sedkit, small, int8, 60 min wav", "details": hour},
        {"benchmark": 4, "name": "YAMNet, LiteRT threads / sedkit, small, int8, 60 min wav", "details": hour},
        {"benchmark": 8, "name": "plain loop / sedkit tag, oggs", "details": {"files_per_second": 100.0}},
        {"benchmark": 8, "name": "plain loop / sedkit tag, more", "details": {}, "value": None},
    ]
    machine = {"cpu": "a CPU", "cpus": 2, "features": [], "memory_gb": 8, "system": "Linux", "python": "3.11"}
    return {
        "rows": [{"value": 1.0} | row for row in rows],
        "machine": machine,
        "versions": {"sedkit": "1"},
        "commit": {"revision": "abc", "changed": False},
        "audio": {"description": "noise"},
        "date": "2026-01-01T00:00:00",
        "repeats": 5,
        "quick": False,
        "warning": None,
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of half an hour, with 200 rows in two partitions."""
    settings = {"results": "events", "--model": "small.onnx (SHA-256 0)", "--threshold": 0.3, "--classes": None}
    archive = Archive(Store(str(tmp_path)), settings, resume=False)
    for partition in archive.plan([Recording(name, 1, 1) for name in "ab"], "/", 1):
        columns = {"file": list(partition.files) * 100, "label": ["Dog"] * 100, "mid": ["/m/0bt9lr"] * 100}
        columns |= {"onset": [0.0] * 100, "offset": [1.0] * 100, "score": [n / 100 for n in range(100)]}
        archive.reports[partition.number] = Report(1, 900.0, 100, ())
        write_partition(archive.store, partition, columns, archive.reports[partition.number])
    archive.save()
    return tmp_path


def test_rates_give_cpu_hours_traffic_and_losses(results: dict):
    rates = list(scale.rates(results))
    assert rates == [scale.Rate("small, int8, 60 min wav", 100.0), scale.Rate("oggs", 250.0)]
    head, small, _ = scale.compute(rates)
    assert dict(zip(head, small, strict=True))["CPU-hours"] == "10,000"
    head, *formats = scale.network(rates)
    wav = dict(zip(head, next(row for row in formats if row[0].startswith("WAV, 16")), strict=True))
    assert (wav["MB per hour"], wav["TB"], wav["MB/s per CPU"]) == ("115", "115", "3.2 … 8.0")
    assert ("1000 recordings of 5 s", "1.4", "0.8", "0.03%") in list(scale.losses(rates))


def test_figures_replace_the_generated_part_of_the_page(results: dict, archive: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scale, "PLANNED", 500)
    figures = scale.figures(results, [archive])
    (row,) = [line for line in figures.splitlines() if line.startswith("| events --threshold 0.3, small.onnx | 2 |")]
    hours, rows, each, packed, _ = (float(cell.replace(",", "")) for cell in row.split("|")[3:-1])
    assert (hours, rows) == (0.5, 400)
    assert each > packed > 0
    assert "| peak memory of the driver |" in figures
    page = report.replaced(scale.PAGE.read_text("utf-8"), figures, scale.MARKS)
    assert figures in page
    assert report.replaced(page, figures, scale.MARKS) == page


def test_results_without_benchmarks_4_and_8_are_refused(results: dict):
    with pytest.raises(SystemExit, match="python -m benchmarks --only 4,8"):
        scale.figures(json.loads(json.dumps(results | {"rows": []})), [])
