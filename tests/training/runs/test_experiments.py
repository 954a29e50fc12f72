"""``sedkit-train experiments``: the runs of a preset, trained one after the other in processes of their own."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.training.conftest import SMALL
from training.runs.experiments import sweep as experiments
from training.runs.experiments.sweep import arguments


def write_preset(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.slow
def test_experiments_train_unfinished_runs_and_stop_in_time(
    run: Path, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is finished. The other is started in a process of its own and stopped in time."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = "\n".join(f"{name[2:]} = {value}" for name, value in zip(SMALL[:-8:2], SMALL[1:-8:2], strict=True))
    text = f'{options}\ndevice = "cpu"\ndropout = 0\n[runs.done]\nstages = 2\n[runs.half]\nstages = 1\nalpha = 0.5\n'
    folder = tmp_path / "runs"
    shutil.copytree(run, folder / "mine-done")
    command = [write_preset(tmp_path, text), "--manifest", str(small_manifest), "--directory", str(folder)]
    listed = CliRunner().invoke(experiments.main, [*command, "--list"])
    assert [line.split(" ", 2)[0] for line in listed.output.splitlines()] == ["mine-done:", "mine-half:"]
    assert "mine-done: finished" in listed.output
    assert not (folder / "mine-half").exists()
    stopped = CliRunner().invoke(experiments.main, [*command, "--stop-after", "0s"])
    assert stopped.exit_code == 0, stopped.output
    assert stopped.output.splitlines()[-1] == "stopped in time; give the same command again to continue"
    config = json.loads((folder / "mine-half" / "config.json").read_text())
    assert config["supervision"] == [{"labels": 1.0}, {"labels": 0.5, "0": 0.5}]
    listed = CliRunner().invoke(experiments.main, [*command, "--list"])
    assert f"--resume {folder}/mine-half" in listed.output


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["fig9"], "no preset 'fig9'"),
        (["fig2-left", "--only", "alpha2"], "has no run alpha2; it has alpha0.0"),
        (["table2-base", "--epochs", "few"], "'few' is not a valid integer"),
        (["table2-base", "--set", "emma=1"], "no setting 'emma'; did you mean ema?"),
        (["table2-base", "--run", "x"], "leave out"),
        (["table2-base", "--set", "reuse=x"], "leave out"),
        (["table2-base", "--launch", "nowhere/torchrun"], "No such file or directory; see --launch"),
        (["table2-base", "--eopchs", "3"], "No such option"),
    ],
)
def test_experiments_with_wrong_options_are_one_line_errors(given: list[str], message: str) -> None:
    result = CliRunner().invoke(experiments.main, given)
    assert result.exit_code
    assert message in result.output
    assert "Traceback" not in result.output


def test_resumed_experiment_gets_options_of_the_machine_only(tmp_path: Path) -> None:
    given = {"epochs": 2, "workers": 3, "device": "cpu", "manifest": "set.csv"}
    started = arguments(tmp_path / "a", given)
    assert started[:4] == ["--set", f"reuse={tmp_path}", "--directory", str(tmp_path / "a")]
    assert "--epochs" in started
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").touch()
    resumed = arguments(tmp_path / "a", given)
    assert resumed[2:4] == ["--resume", str(tmp_path / "a")]
    assert resumed[4:] == ["--set", "workers=3", "--device", "cpu", "--manifest", "set.csv"]


def test_failed_run_does_not_stop_the_others(small_manifest: Path, tmp_path: Path) -> None:
    text = f'manifest = "{small_manifest}"\n[runs.one]\n[runs.two]\n'
    launch = shlex.join(["sh", "-c", "exit 3"])
    command = [write_preset(tmp_path, text), "--directory", str(tmp_path), "--launch", launch]
    result = CliRunner().invoke(experiments.main, command)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        "Error: not finished: mine-one (exit code 3), mine-two (exit code 3); their errors are above"
    )


@pytest.mark.parametrize("code", [130, 143])
def test_interrupted_run_ends_the_experiments(code: int, small_manifest: Path, tmp_path: Path) -> None:
    text = f'manifest = "{small_manifest}"\n[runs.one]\n[runs.two]\n'
    launch = shlex.join(["sh", "-c", f"exit {code}"])
    command = [write_preset(tmp_path, text), "--directory", str(tmp_path), "--launch", launch]
    result = CliRunner().invoke(experiments.main, command)
    assert result.exit_code == code
    assert "mine-two" not in result.output
