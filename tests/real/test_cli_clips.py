"""``sedkit tag`` and ``sedkit timeline`` on real clips with the default model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sedkit.cli import main
from sedkit.inference.installed import DEFAULT, installed_models

CATEGORIES = ("dog", "siren", "rain", "church_bells", "crying_baby", "clock_tick")


@pytest.fixture(scope="module", autouse=True)
def _shipped_model() -> None:
    if DEFAULT not in (path.stem for path in installed_models()):
        pytest.skip(f"the default model, {DEFAULT}, is not installed")


@pytest.fixture(scope="module")
def clips(data: Path) -> list[Path]:
    """One ESC-50 clip of each category, 5 s each."""
    with open(data / "esc50" / "esc50.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    firsts = [next(row for row in rows if row["category"] == category) for category in CATEGORIES]
    return [next((data / "esc50" / "audio").glob(Path(row["filename"]).stem + ".*")) for row in firsts]


def results(command: str, clips: list[Path], *options: str) -> list[dict]:
    result = CliRunner().invoke(main, [command, *map(str, clips), "--device", "cpu", "--format", "json", *options])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_tag_real_clips(clips: list[Path]):
    entries = results("tag", clips)
    assert [entry["file"] for entry in entries] == [str(clip) for clip in clips]
    for entry in entries:
        scores = [tag["score"] for tag in entry["tags"]]
        assert entry["duration"] == pytest.approx(5.0, abs=0.01)
        assert 1 <= len(scores) <= 5
        assert scores[-1] >= 0.01
        assert scores == sorted(scores, reverse=True)
        assert 0 <= scores[-1] <= scores[0] <= 1
    assert len({entry["tags"][0]["mid"] for entry in entries}) > 1


def test_timeline_of_real_clips(clips: list[Path]):
    for entry in results("timeline", clips, "--threshold", "0.3"):
        duration = entry["duration"]
        cells = [(cell["start"], cell["end"]) for cell in entry["seconds"]]
        assert cells[0][0] == 0
        assert cells[-1][1] == duration
        assert [end for _, end in cells[:-1]] == [start for start, _ in cells[1:]]
        assert all(tag["score"] >= 0.3 for cell in entry["seconds"] for tag in cell["tags"])
        for event in entry["events"]:
            assert 0 <= event["onset"] < event["offset"] <= duration
            assert event["score"] >= 0.3
        assert {event["label"] for event in entry["events"]} <= {
            tag["label"] for cell in entry["seconds"] for tag in cell["tags"]
        }


def test_events_do_not_depend_on_the_resolution(clips: list[Path]):
    seconds, native = (results("timeline", clips, "-t", "0.3", "--resolution", x) for x in ("1.0", "native"))
    assert [entry["events"] for entry in seconds] == [entry["events"] for entry in native]
    assert all(len(n["seconds"]) > len(s["seconds"]) for s, n in zip(seconds, native, strict=True))


def test_text_timeline_draws_lanes(clips: list[Path]):
    result = CliRunner().invoke(main, ["timeline", str(clips[0]), "--device", "cpu", "--format", "text", "-t", "0"])
    assert result.exit_code == 0
    assert "┬" in result.stdout
