"""Which generation a run exports, and the warning about a student that falls behind its teacher."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sedkit.contract import Contract, metadata_of
from tests.training.conftest import continue_run, metrics, run_secost, untrained_run, weights
from training.networks.wels import Network
from training.runs.chosen import chosen_generation, difference, verdict, warn_if_behind
from training.runs.run import Run
from training.runs.split_scores import write_split_scores
from training.runs.teacher_files import exported_network
from training.runtime.checkpoint import save
from training.runtime.files import write_json

GENERATIONS = 3


@pytest.fixture
def cascade(small_manifest: Path, tmp_path: Path) -> Run:
    """A run of two students that is not trained; :func:`give` makes its generations."""
    return untrained_run(small_manifest, tmp_path / "run", "--stages", "2", "--export", "best")


def give(run: Run, right: list[float]) -> list[dict[str, Any]]:
    """Give each generation scores that are right to some degree, and a report with that degree as its mAP."""
    targets = run.clips("validation").multi_hot()
    noise = np.random.default_rng(0).random(targets.shape)
    for generation, share in enumerate(right):
        directory = run.generation(generation)
        save({"network": Network(3, 1 / 16).state_dict()}, directory / "network.pt")
        scores = (share * targets + (1 - share) * noise).astype(np.float32)
        write_split_scores(directory, {"validation": scores})
        write_json(directory / "report.json", {"validation": {"mAP": share}, "best_epoch": 3})
    return run.reports()


def test_the_best_generation_is_chosen_and_the_earliest_of_equals(cascade: Run) -> None:
    reports = give(cascade, [0.8, 0.9, 0.9])
    assert chosen_generation(cascade.directory, reports) == 1
    assert exported_network(cascade.directory)[1] == 1
    assert verdict(cascade, reports) == "student 1 is exported (--export best): validation mAP 0.900"
    cascade.change_model(export="last")
    assert chosen_generation(cascade.directory, reports) == 2
    cascade.change_model(export="best")
    assert "student 2 is exported (it is the last and the best)" in verdict(cascade, give(cascade, [0.7, 0.8, 0.9]))


def test_the_last_generation_is_exported_if_validation_clips_have_no_class(cascade: Run) -> None:
    reports = [{"validation": {"mAP": None}} for _ in range(3)]
    assert chosen_generation(cascade.directory, reports) == 2
    message = "student 2, the last generation, is exported: no validation clip has a class, so none is the best"
    assert verdict(cascade, reports) == message


def test_the_last_one_is_exported_on_demand_and_by_older_runs(cascade: Run) -> None:
    reports = give(cascade, [0.9, 0.8, 0.7])
    cascade.change_model(export="last")
    assert verdict(cascade, reports) == (
        "student 2 is exported (--export last, as in the paper's Algorithm 1): validation mAP 0.700; best is Teacher-0 "
        "with 0.900: --export best would export it"
    )
    config = json.loads((cascade.directory / "config.json").read_text())
    del config["model"]["export"]
    (cascade.directory / "config.json").write_text(json.dumps(config))
    assert chosen_generation(cascade.directory, reports) == 2


def test_a_student_behind_its_teacher_is_warned_of(cascade: Run) -> None:
    give(cascade, [1.0, 0.1, 0.1])
    found = difference(cascade, 1)
    assert found is not None
    assert found.change < -found.noise < 0
    (line,) = warn_if_behind(cascade, 1)
    assert line.startswith(f"student 1 is behind Teacher-0: validation mAP {found.change:+.3f}, noise ")
    assert "the best generation is exported" in line
    assert not warn_if_behind(cascade, 2), "its teacher is no better"
    assert difference(cascade, 0) is None
    cascade.change_model(export="last")
    assert "--resume with --export best changes that" in warn_if_behind(cascade, 1)[0]


def test_students_start_from_their_teacher_which_counts_as_epoch_0(
    small_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a rate that ruins the student, the teacher is kept, and the run says so."""
    options = ["--stages", "1", "--epochs", "2", "--set", "students=teacher"]
    for rate, same in ((1e-9, True), (10.0, False)):
        run = untrained_run(small_manifest, tmp_path / f"run-{rate}", *options, "--learning-rate", str(rate))
        continue_run(run.directory)
        first, second = (weights(run.directory, generation) for generation in (0, 1))
        validated = metrics(run.directory, 1, "validation_mAP")
        reports = run.reports()
        assert reports[1]["validation"]["mAP"] >= reports[0]["validation"]["mAP"]
        if same:
            for name, _ in Network(3, 1 / 16).named_parameters():
                torch.testing.assert_close(second[name], first[name], atol=1e-6, rtol=0)
        elif max(validated) <= reports[0]["validation"]["mAP"]:
            assert reports[1]["best_epoch"] == 0
            assert "student 1 is its teacher: no epoch was better" in capsys.readouterr().err


@pytest.mark.slow
def test_export_of_another_generation_on_resume(run: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(run, tmp_path / "run")
    for generation in range(GENERATIONS):
        report = json.loads((directory / f"generation-{generation}" / "report.json").read_text())
        report["validation"]["mAP"] = 0.9 - 0.1 * generation
        write_json(directory / f"generation-{generation}" / "report.json", report)
    output = run_secost("--resume", directory, "--device", "cpu", "--export", "best")
    assert "Teacher-0 is exported (--export best): validation mAP 0.900" in output
    lineage = Contract.from_metadata(metadata_of(directory / "model.onnx")).lineage
    assert lineage["stages"] == 0
    assert len(lineage["supervision"]) == 1
    before = Contract.from_metadata(metadata_of(run / "model.onnx")).lineage
    assert before["stages"] == 2
    assert lineage["metrics"].keys() == before["metrics"].keys() == {"validation", "test"}
