"""Faults of a training: kills, time limits, Ctrl-C, a full disk, NaN; and resuming to the same networks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tests.training.conftest import SMALL, continue_run, full_disk, metrics, run_secost, start_run, weights
from tests.training.processes import training, wait_for
from training.data.manifest.table import Manifest
from training.loop import fit
from training.loop.settings import Execution
from training.runs.run import Run
from training.runtime.checkpoint import load, save
from training.runtime.deadline import Deadline
from training.runtime.lock import Lock, LockError
from training.runtime.progress import CascadeProgress
from training.secost import main
from training.secost import secost as algorithm_1

KILLED_DURING = {  # phase → file whose existence shows that it is reached
    "an epoch": "generation-0/checkpoint.pt",
    "scoring by the teacher": "generation-0/predictions-*.partial",
    "another epoch": "generation-1/metrics.jsonl",
    "the last report": "generation-2/network.pt",
}


def secost(*arguments: str | Path) -> tuple[int, str]:
    """Run ``sedkit-train secost`` in this process; returns its exit code and output."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.output


@pytest.mark.slow
def test_resume_after_kills_gives_the_same_networks(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "killed"
    arguments = ["--manifest", small_manifest, "--run", directory, "--stages", "2", *SMALL]
    for pattern in KILLED_DURING.values():
        process = training(*arguments, log=tmp_path / "log", chunk=2)
        wait_for(lambda pattern=pattern: list(directory.glob(pattern)), process)
        process.kill()
        process.join()
        arguments = ["--resume", directory, "--device", "cpu"]
    (directory / "generation-0" / ".checkpoint.pt.1.tmp").write_bytes(b"half a checkpoint")
    (directory / "generation-0" / "checkpoint.pt").write_bytes(b"left by a killed process")
    continue_run(directory)
    for generation in range(3):
        assert metrics(directory, generation) == metrics(run, generation)
        expected = weights(run, generation)
        assert all(torch.equal(value, expected[name]) for name, value in weights(directory, generation).items())
        assert (directory / f"generation-{generation}" / "report.json").exists()
    leftovers = [path for name in (".*.tmp", "checkpoint.pt", "predictions-*") for path in directory.rglob(name)]
    assert not leftovers, "leftovers of killed processes are removed"


def test_resume_within_an_epoch_gives_the_same_network(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    start_run(small_manifest, directory, "--stages", "0")
    for batch in (1, 2):
        assert load(directory / "generation-0" / "checkpoint.pt")["progress"]["batch"] == batch
        if batch == 1:
            assert secost("--resume", directory, "--device", "cpu", "--stop-after", "0s")[0] == 0
    assert not (directory / "generation-0" / "metrics.jsonl").exists()
    continue_run(directory)
    assert metrics(directory, 0) == metrics(run, 0)
    assert all(torch.equal(value, weights(run, 0)[name]) for name, value in weights(directory, 0).items())


def test_stop_after_starts_no_report_or_export_that_would_be_late(small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    start_run(small_manifest, directory, "--stages", "0", "--epochs", "1")
    continue_run(directory)
    log = directory / "generation-0" / "metrics.jsonl"
    report = directory / "generation-0" / "report.json"
    report.unlink()
    row = json.loads(log.read_text())
    log.write_text(json.dumps(row | {"validation_seconds": 1e6}) + "\n")
    output = run_secost("--resume", directory, "--device", "cpu", "--stop-after", "9m")
    assert "stopped in time" in output
    assert not report.exists()
    log.write_text(json.dumps(row) + "\n")
    output = run_secost("--resume", directory, "--device", "cpu", "--stop-after", "30s")
    assert "stopped in time" in output
    assert report.exists()
    assert not (directory / "model.onnx").exists()


def test_ctrl_c_prints_the_command_that_resumes(small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"

    def interrupt() -> None:
        while not (directory / "generation-0" / "checkpoint.pt").exists():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    code, output = secost("--manifest", small_manifest, "--run", directory, *SMALL, "--epochs", "1000")
    assert code == 130
    assert output.splitlines()[-1] == f"interrupted; resume with: sedkit-train secost --resume {directory}"
    checkpoint = directory / "generation-0" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    code, output = secost("--resume", directory, "--device", "cpu")
    assert code == 1
    assert f"Error: {checkpoint}: cannot be read" in output
    save({"trainer": {}}, checkpoint)
    code, output = secost("--resume", directory, "--device", "cpu")
    assert code == 1
    assert f"Error: {checkpoint}: not of this run ('network'); remove it" in output


@pytest.mark.parametrize("largest", [100_000, 100])
def test_full_disk_loses_nothing(largest: int, run: Path, small_manifest: Path, tmp_path: Path) -> None:
    """The disk is full when a checkpoint is written (100 kB), or the scores of a teacher (100 bytes)."""
    directory = tmp_path / "run"
    start_run(small_manifest, directory, "--stages", "1")
    generation = directory / "generation-0"
    if largest == 100:
        shutil.copyfile(run / "generation-0" / "network.pt", generation / "network.pt")
        shutil.copyfile(run / "generation-0" / "report.json", generation / "report.json")
        (generation / "checkpoint.pt").unlink()
    before = {path: path.read_bytes() for path in generation.iterdir() if path.name != ".lock"}
    with full_disk(largest):
        code, output = secost("--resume", directory, "--device", "cpu")
    assert code == 1
    what = "checkpoint.pt" if largest > 100 else "predictions-"
    assert what in output.splitlines()[-1]
    assert "cannot be written (File too large); make room" in output
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not list(directory.rglob(".*.tmp"))


def test_nan_loss_keeps_the_last_good_checkpoint(small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = training(
        "--manifest", small_manifest, "--run", directory, *SMALL, "--epochs", "1000", log=tmp_path / "log"
    )
    checkpoint = directory / "generation-0" / "checkpoint.pt"
    wait_for(checkpoint.exists, process)
    process.kill()
    process.join()
    state = load(checkpoint)
    state["trainer"]["network"]["wels.L4.bias"][0] = float("nan")
    save(state, checkpoint)
    before = checkpoint.read_bytes()
    code, output = secost("--resume", directory, "--device", "cpu")
    epochs = len(state["history"])
    assert code == 1
    assert f"generation-0: epoch {epochs + 1}: the loss is nan; the checkpoint of epoch {epochs} is kept" in output
    assert "lower --learning-rate" in output
    assert checkpoint.read_bytes() == before


def test_class_without_clips_is_a_warning_and_left_out_of_the_means(small_manifest: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(small_manifest)
    missing = {"train": "tone", "validation": "noise"}
    keep = [
        row
        for row, (path, split) in enumerate(zip(manifest.paths, manifest.splits, strict=True))
        if not Path(path).name.startswith(missing.get(split, "nothing"))
    ]
    manifest.take(keep).save(tmp_path / "some.csv")
    arguments = ["--manifest", tmp_path / "some.csv", "--run", tmp_path / "run", *SMALL, "--stages", "0"]
    output = run_secost(*arguments, "--epochs", "1", "--stop-after", "0s")
    assert "warning: 1 of 3 classes have no clip in the split 'train' (tone)" in output
    assert "warning: 1 of 3 classes have no clip in the split 'validation' (noise)" in output
    continue_run(tmp_path / "run")
    report = json.loads((tmp_path / "run" / "generation-0" / "report.json").read_text())
    assert report["validation"]["without_positives"] == ["noise"]
    assert [row["AP"] is None for row in report["validation"]["classes"]] == [False, True, False]
    assert report["validation"]["mAP"] is not None


def test_lock_keeps_a_second_process_from_a_run(small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    process = training(
        "--manifest", small_manifest, "--run", directory, *SMALL, "--epochs", "1000", log=tmp_path / "log"
    )
    wait_for((directory / "generation-0" / "checkpoint.pt").exists, process)
    code, output = secost("--resume", directory, "--device", "cpu")
    assert code == 1
    assert f"process {process.pid} on " in output
    assert "is working on this run" in output
    process.kill()
    process.join()
    with Lock(directory), pytest.raises(LockError):
        Lock(directory)
    Lock(directory).release()


ABSENT = ("soundfile", "soxr", "av", "librosa", "onnxruntime", "onnx", "onnxscript")


def test_training_needs_no_audio_or_export_libraries_if_clips_are_decoded(
    run: Path, small_manifest: Path, tmp_path: Path
) -> None:
    arguments = ["--manifest", small_manifest, "--run", tmp_path / "run", *SMALL, "--stages", "1", "--epochs", "1"]
    process = training(*arguments, log=tmp_path / "log", without=ABSENT)
    process.join()
    assert process.exitcode == 1
    assert weights(tmp_path / "run", 1)
    assert (tmp_path / "run" / "report.md").exists()
    output = (tmp_path / "log").read_text().splitlines()[-1]
    assert "trained, see report.md; the export needs onnx, onnxscript, onnxruntime" in output


@pytest.mark.slow
def test_resume_from_a_checkpoint_of_an_earlier_epoch_gives_the_same_network(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints are at least some seconds apart, so not every short epoch is followed by one."""

    class Killed(Exception): ...

    class Progress(CascadeProgress):
        def report(self, row: dict) -> None:
            if "loss" in row and row["epoch"] == 3:
                raise Killed

    options = ("--stages", "0", "--epochs", "4", "--set", "validate-every=2", "--set", "ema=0.9")
    for name in ("uninterrupted", "killed"):
        start_run(small_manifest, tmp_path / name, *options)
    continue_run(tmp_path / "uninterrupted")
    monkeypatch.setattr(fit, "CHECKPOINT_SPACING", 1e9)
    with pytest.raises(Killed):
        algorithm_1(Run.open(tmp_path / "killed"), Execution(torch.device("cpu")), Progress(1, 4), Deadline())
    assert len(load(tmp_path / "killed" / "generation-0" / "checkpoint.pt")["history"]) == 1
    continue_run(tmp_path / "killed")
    expected, resumed = (weights(tmp_path / name, 0) for name in ("uninterrupted", "killed"))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
