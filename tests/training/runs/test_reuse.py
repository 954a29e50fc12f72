"""Networks that several runs have in common are copied instead of trained again (``--set reuse``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from tests.training.conftest import continue_run, metrics, untrained_run, weights
from training.runs.reuse import reuse, shared


def test_number_of_generations_that_two_cascades_share() -> None:
    first, second = {"labels": 1.0}, {"labels": 0.3, "0": 0.7}
    assert shared([first, second], [first, second, second]) == 2
    assert shared([first, second], [first, {"labels": 0.5, "0": 0.5}]) == 1
    assert shared([{"yamnet": 1.0}], [{"yamnet": 1.0}]) == 0


def test_common_generations_are_copied(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    """``run`` has three generations at alpha 0.3. The new run has the same supervision in the first two."""
    directory, finished = tmp_path / "new", run.parent
    stages = ["--stage", "labels=0.3,0=0.7", "--stage", "labels=0.3,0=0.4,1=0.3"]
    new = untrained_run(small_manifest, directory, *stages)
    assert reuse(new, finished) == [f"generation {number} is that of {run}" for number in (0, 1)]
    assert not (directory / "generation-2").exists()
    assert json.loads((directory / "generation-1" / "reused.json").read_text())["run"] == str(run)
    for number in (0, 1):
        copied, original = weights(directory, number), weights(run, number)
        assert all(torch.equal(value, original[name]) for name, value in copied.items())
    scores = [folder / "generation-1" / "scores.npz" for folder in (directory, run)]
    assert scores[0].read_bytes() == scores[1].read_bytes()
    assert reuse(new, finished) == []
    continue_run(directory)
    assert len(metrics(directory, 2)) == 3


def test_settings_of_students_leave_teacher_0_as_it_is(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    new = untrained_run(
        small_manifest, tmp_path / "run", "--stages", "2", "--teachers-hear", "view", "--set", "students=teacher"
    )
    assert reuse(new, run.parent) == [f"generation 0 is that of {run}"]


def test_segment_targets_are_another_teacher_0(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    segments = ["--teachers-hear", "sounds", "--set", "overlay=0.5", "--mixup", "0", "--set", "time-mask=0"]
    new = untrained_run(small_manifest, tmp_path / "run", "--stages", "2", *segments)
    assert reuse(new, run.parent) == []


def test_another_seed_shares_nothing(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    assert reuse(untrained_run(small_manifest, tmp_path / "run", "--stages", "1", "--seed", "1"), run.parent) == []


def test_run_without_later_options_counts_as_one_with_their_defaults(
    run: Path, small_manifest: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(run, tmp_path / "runs" / "old")
    config = json.loads((old / "config.json").read_text("utf-8"))
    for later in ("response", "narrow", "speed", "reverb", "noise", "style"):
        del config["settings"]["augmentation"][later]
    (old / "config.json").write_text(json.dumps(config))
    assert len(reuse(untrained_run(small_manifest, tmp_path / "new", "--stages", "1"), old.parent)) == 2
