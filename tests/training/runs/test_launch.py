"""Launching trainings as processes: which code they run, several at a time, failures and interruptions."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from pathlib import Path

import click
import pytest

import training
from training.runs.experiments.launch import finished, launcher, train
from training.runtime.deadline import Deadline, Stopped
from training.runtime.processes import Processes


@pytest.mark.slow
def test_launched_training_is_ours_in_a_folder_with_another_training_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """``python -m`` would import the package in the current folder first."""
    (tmp_path / "training").mkdir()
    for name in ("__init__.py", "secost.py"):
        (tmp_path / "training" / name).write_text("raise SystemExit('another package')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(click.ClickException, match=r"^not finished: one \(exit code 1\)"):
        train({"one": (tmp_path / "run", ["--resume", str(tmp_path / "run")])}, "python", Deadline())
    errors = capfd.readouterr().err
    assert f"{tmp_path / 'run'}: not a run directory" in errors
    assert "another package" not in errors


def test_launched_training_keeps_the_python_path_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    script = 'printf "%s\\n" "$PYTHONPATH" "$PYTHONSAFEPATH" > "$0"'
    with pytest.raises(Stopped):
        train({"one": (tmp_path / "run", [])}, shlex.join(["sh", "-c", script, str(tmp_path / "env")]), Deadline())
    package = Path(training.__file__).parents[1]
    assert (tmp_path / "env").read_text().splitlines() == [f"{package}{os.pathsep}elsewhere", "1"]


def test_launcher_uses_this_interpreter_for_python() -> None:
    assert launcher("python -O") == [sys.executable, "-O", "-m", "training.secost"]
    assert launcher("torchrun --nproc-per-node 8") == ["torchrun", "--nproc-per-node", "8", "-m", "training.secost"]


def test_remaining_time_is_passed_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped):
        train({"one": (tmp_path / "run", [])}, "true", Deadline(60))
    assert " --stop-after 60s" in capfd.readouterr().err


def test_sigterm_is_passed_on_to_the_trainings() -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with Processes() as processes:
            processes.start("one", ["sleep", "60"])
            processes.start("other", ["sleep", "60"])
            assert {processes.next_to_end() for _ in range(2)} == {
                ("one", -signal.SIGTERM),
                ("other", -signal.SIGTERM),
            }
    finally:
        signal.signal(signal.SIGTERM, before)


def test_one_of_several_jobs_fails_and_the_others_finish(tmp_path: Path) -> None:
    """The output of each is in a log beside its run. No run starts after one that was stopped in time."""
    runs = {name: (tmp_path / name, [str(tmp_path / name)]) for name in ("one", "two", "three")}
    script = 'echo this is "$3"; case "$3" in *two) exit 3;; esac; mkdir "$3"; touch "$3"/model.onnx'
    launch = shlex.join(["sh", "-c", script, "sh"])
    with pytest.raises(click.ClickException, match=r"^not finished: two \(exit code 3\); .* in their logs$"):
        train(runs, launch, Deadline(), jobs=2)
    assert [finished(tmp_path / name) for name in runs] == [True, False, True]
    assert (tmp_path / "two.log").read_text() == f"this is {tmp_path / 'two'}\n"
    waiting = {name: (tmp_path / name, ["nothing"]) for name in ("four", "five", "six")}
    with pytest.raises(Stopped):
        train(waiting, "true", Deadline(), jobs=1)
