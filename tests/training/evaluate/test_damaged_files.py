"""Files of a run that are damaged or of another form: one line that names the file, the cause and the remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from training.__main__ import main

WORKING = {"loss": 0.1, "clips_per_second": 9.0, "seconds": 3.0}
CONFIG = {
    "date": "today", "command": "sedkit-train secost", "git_revision": "abc", "device": "cpu", "seed": 0,
    "model": {"name": "mine"}, "versions": {"torch": "2"}, "labels": [], "supervision": [{"labels": 1}],
    "clips": {"train": 1, "validation": 1, "test": 1}, "manifest_sha256": "0", "settings": {"crop": 1.0},
}  # fmt: skip


def write_run(folder: Path) -> None:
    """The files of a finished run that ``evaluate run`` reads."""
    (folder / "generation-0").mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "report.md").write_text("a table\n")
    (folder / "generation-0" / "metrics.jsonl").write_text(json.dumps(WORKING) + "\n")


def refused(*arguments: str | Path) -> str:
    """The single line with which a command refuses a file."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1, repr(result.exception)
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def test_a_summary_of_a_run(tmp_path: Path) -> None:
    write_run(tmp_path)
    result = CliRunner().invoke(main, ["evaluate", "run", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "- speed: 9.0 training clips/s of 1 s (median epoch), 0 min in 1 epochs\n\na table\n" in result.output


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "config.json is damaged (Expecting property name"),
        ("config.json", b"\xff", "config.json is damaged ("),
        ("config.json", b"[]", "config.json: is damaged, or of another form ("),
        ("config.json", b"{}", "config.json: is damaged, or of another form (KeyError('clips')); restore it, or"),
        ("report.md", b"\xff", "report.md: is damaged, or of another form ("),
        ("generation-0/metrics.jsonl", b"{", "metrics.jsonl: is damaged, or of another form ("),
        ("generation-0/metrics.jsonl", b"", "metrics.jsonl: is damaged, or of another form (ValueError('no epoch'))"),
        ("generation-0/metrics.jsonl", b"{}", "metrics.jsonl: is damaged, or of another form (KeyError('clips_per_"),
    ],
)
def test_a_damaged_file_of_a_run(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write_run(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert message in refused("evaluate", "run", tmp_path)
    (tmp_path / name).unlink()
    assert str(tmp_path) in refused("evaluate", "run", tmp_path)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("generation-0/report.json", "remove it, and sedkit-train secost --resume {run} writes it again"),
        ("generation-1/metrics.jsonl", "restore it, or begin a new run"),
        ("robustness.json", "repeat sedkit-train evaluate robustness, or remove the file"),
        ("unknown.json", "repeat sedkit-train evaluate unknown, or remove the file"),
        ("timelines.json", "repeat sedkit-train evaluate timelines, or remove the file"),
    ],
)
def test_a_damaged_file_of_a_run_to_publish(run: Path, tmp_path: Path, name: str, remedy: str) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    for content in ("{", "3"):
        (copy / name).write_text(content)
        message = refused("publish", copy, "--output", tmp_path / "models", "--device", "cpu")
        assert f"{copy / name}: is damaged, or of another form (" in message
        assert message.endswith(f"{remedy.format(run=copy)}\n")
        assert not (tmp_path / "models").exists()
