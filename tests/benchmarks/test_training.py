"""``python -m benchmarks.training`` runs, and its operation counts match Table 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from click.testing import CliRunner  # noqa: E402

from benchmarks.training import PASSES, Device, clip_costs, floor, main  # noqa: E402


def test_clip_costs_match_table_1() -> None:
    work = clip_costs(1.0, 10.24)
    convolutions, inputs = [], 1
    for filters, positions in zip((64, 128, 256, 512), (1024 * 64, 256 * 16, 128 * 8, 64 * 4), strict=True):
        convolutions += [positions * 9 * inputs * filters, positions * 9 * filters * filters]
        inputs = filters
    convolutions += [30 * 512 * 2048 * 6, 30 * 2048 * 1024, 30 * 1024 * 1024, 30 * 1024 * 527]
    # forward, weight gradients, input gradients (not needed for the first layer); 2 operations per multiply-add
    assert work.operations == 2 * (3 * sum(convolutions) - convolutions[0])
    assert work.operations == pytest.approx(32.8e9, rel=0.01)
    maps = 2 * (64 * 1024 * 64 + 128 * 256 * 16 + 256 * 128 * 8 + 512 * 64 * 4) + 30 * (2048 + 1024 + 1024)
    assert work.maps == maps


def test_floor_adds_the_times_of_arithmetic_and_traffic() -> None:
    work = clip_costs(1.0, 10.24)
    device = Device("", 800 * work.operations, 200 * PASSES * 2 * work.maps)
    bounds = floor(device, work, "bf16")
    assert bounds == pytest.approx({"arithmetic": 800, "traffic": 200, "both": 160})
    assert floor(device, work, "float32")["traffic"] == pytest.approx(100)


@pytest.mark.slow
def test_training_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    arguments = ["--device", "cpu", "--width", "0.03", "--crop", "0.96", "--batch-size", "4", "--steps", "2"]
    arguments += ["--way", "default", "--way", "accumulate 2", "--json", str(path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    measured = json.loads(path.read_text())
    assert [row["way"] for row in measured["rows"]] == ["default", "accumulate 2", "default, again"]
    for row in measured["rows"]:
        assert row["clips_per_second"] > 0
        assert 0 <= row["data_wait"] <= 1
        assert row["memory"] > 0
    assert measured["device"]["arithmetic"] > 1e9
    assert "| default |" in result.stdout
    assert "AudioSet epoch" in result.stdout


def test_unknown_way_is_a_one_line_error() -> None:
    result = CliRunner().invoke(main, ["--way", "faster", "--device", "cpu"])
    assert result.exit_code == 2
    assert "choose from default" in result.output
