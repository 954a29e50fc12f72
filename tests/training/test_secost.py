"""The cascade, run for real on a small set: what it writes, that it resumes, and that sedkit runs its export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.tagger import Tagger
from tests.training.conftest import SMALL, continue_run, metrics, run_secost, start_run, weights
from training.data.manifest.table import Manifest
from training.networks.wels import Network
from training.runs.interpret import stages_of
from training.runtime.command_line import DURATION
from training.secost import main
from training.supervision.equations import LABELS


def test_a_run_directory_holds_what_decides_and_what_came_out(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["clips"] == {"train": 24, "validation": 6, "test": 6}
    assert config["supervision"] == [{"labels": 1.0}, {"labels": 0.3, "0": 0.7}, {"labels": 0.3, "1": 0.7}]
    assert len(config["manifest_sha256"]) == 64
    assert config["git_revision"]
    for generation in range(3):
        folder = run / f"generation-{generation}"
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        assert set(rows[0]) >= {"loss", "validation_mAP", "clips_per_second", "data_wait", "seconds"}
        report = json.loads((folder / "report.json").read_text())
        assert [row["label"] for row in report["test"]["classes"]] == ["clicks", "noise", "tone"]
        best = max(rows, key=lambda row: row["validation_mAP"])
        assert report["best_epoch"] == best["epoch"]
        assert report["validation"]["mAP"] == pytest.approx(best["validation_mAP"])
        assert not (folder / "checkpoint.pt").exists()
    assert (run / "report.md").read_text().count("\n") == 5


def test_every_generation_starts_from_scratch(run: Path) -> None:
    first, second = weights(run, 0)["wels.B1.0.0.weight"], weights(run, 1)["wels.B1.0.0.weight"]
    assert not torch.allclose(first, second, atol=1e-3)


def test_sedkit_runs_what_the_cascade_exports(run: Path, small_manifest: Path) -> None:
    tagger = Tagger(run / "model.onnx", device="cpu")
    assert [label.name for label in tagger.labels] == ["clicks", "noise", "tone"]
    assert tagger.contract.license == "CC0-1.0"
    assert tagger.contract.lineage["stages"] == 2
    assert tagger.contract.tag_segments == segment_count(2 * SAMPLE_RATE)
    assert tagger.contract.lineage["dataset_sha256"] == json.loads((run / "config.json").read_text())["manifest_sha256"]
    samples, rate = soundfile.read(small_manifest.parent / "tone-11.wav")
    scores = {tag.label: tag.score for tag in tagger.tag(samples, rate).tags}
    clip = torch.from_numpy(samples).float()[None]
    network = Network(3, 0.0625, 0.0).eval()
    network.load_state_dict(weights(run, 2))
    with torch.no_grad():
        expected = network(clip).clip[0].numpy()
    np.testing.assert_allclose([scores[name] for name in ("clicks", "noise", "tone")], expected, atol=1e-4)


def test_another_seed_gives_other_networks(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    """The same seed gives the same networks: test_faults."""
    directory = tmp_path / "run"
    start_run(small_manifest, directory, "--stages", "0", "--epochs", "1", "--seed", "1")
    continue_run(directory)
    assert not torch.equal(weights(run, 0)["wels.L4.weight"], weights(directory, 0)["wels.L4.weight"])


@pytest.mark.parametrize(
    "settings",
    [
        ["--set", "ema=0.9", "--set", "clip=1", "--set", "schedule=constant"],
        ["--set", "dropout=0.5", "--set", "sampling=balanced", "--set", "overlay=0.5"],
    ],
)
def test_other_ways_to_train_resume_exactly_too(settings: list[str], small_manifest: Path, tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for directory in (whole, halves):
        start_run(small_manifest, directory, "--stages", "0", "--epochs", "2", *settings)
    continue_run(whole)
    run_secost("--resume", halves, "--device", "cpu", "--stop-after", "0s")
    continue_run(halves)
    assert metrics(whole, 0) == metrics(halves, 0)
    assert all(torch.equal(value, weights(halves, 0)[name]) for name, value in weights(whole, 0).items())


def test_several_teachers(small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    stages = ["--stage", "labels=0.3,0=0.7", "--stage", "labels=0.2,0=0.4,1=0.4"]
    start_run(small_manifest, directory, *stages, "--epochs", "1")
    continue_run(directory)
    assert metrics(directory, 2)
    report = json.loads((directory / "generation-2" / "report.json").read_text())
    assert report["supervision"] == {"labels": 0.2, "0": 0.4, "1": 0.4}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--manifest", "nowhere.csv"], "nowhere.csv"),
        (["--resume", "nowhere"], "not a run directory"),
        (["--stage", "labels=0.3,0=0.6"], "sum to 0.9"),
        (["--alpha", "0.3,0.2", "--stages", "3"], "2 values of alpha for 3 stages"),
        (["--alpha", "much"], "is not a number"),
        (["--stop-after", "soon"], "is not a time"),
        (["--learning-rate", "1e30", "--stages", "0"], "lower --learning-rate"),
        (["--learning-rate", "1e38", "--stages", "0", "--batch-size", "24"], "lower --learning-rate"),
        (["--stage", "labels=1", "--stages", "3"], "but 1 --stage"),
        (["--seed", "-1"], "--seed"),
        (["--width", "16,40,80"], "give 6 numbers of filters, for B1, B2, B3, B4, L1 and L2"),
        (["--width", "16,40,80,0,9,9"], "0 is not in the range x>=1"),
        (["--width", "0"], "0 is not in the range x>0"),
        (["--width", "wide"], "'wide' is not a valid float"),
        (["--set", "views=3"], "needs --teachers-hear view"),
        (["--set", "emma=0.9"], "no setting 'emma'; did you mean ema?"),
        (["--set", "ema"], "'ema' is not KEY=VALUE"),
        (["--set", "ema=2"], "2.0 is not in the range 0<=x<1"),
        (["--run", __file__], "cannot be written"),
        (["--resume", "somewhere", "--epochs", "9", "--run", "r"], "leave out run, epochs"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, small_manifest: Path, tmp_path: Path) -> None:
    if "--manifest" not in arguments and "--resume" not in arguments:
        arguments = ["--manifest", str(small_manifest), "--run", str(tmp_path / "run"), *SMALL, *arguments]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_run_is_not_begun_twice_nor_resumed_on_other_data(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--manifest", str(small_manifest), "--run", str(run), *SMALL])
    assert result.exit_code == 1
    assert "holds a run already" in result.output
    folder = tmp_path / "data"
    shutil.copytree(small_manifest.parent, folder)
    directory = tmp_path / "run"
    start_run(folder / "manifest.csv", directory, "--stages", "0")
    lines = (folder / "manifest.csv").read_text().splitlines()
    (folder / "manifest.csv").write_text("\n".join(lines[:-1]) + "\n")
    result = CliRunner().invoke(main, ["--resume", str(directory)])
    assert result.exit_code == 1
    assert "changed since the run began" in result.output


def test_a_run_goes_on_where_its_data_was_moved_to(small_manifest: Path, tmp_path: Path) -> None:
    here, there, directory = tmp_path / "here", tmp_path / "there", tmp_path / "run"
    shutil.copytree(small_manifest.parent, here)
    start_run(here / "manifest.csv", directory, "--stages", "0")
    here.rename(there)
    result = CliRunner().invoke(main, ["--resume", str(directory), "--device", "cpu"])
    assert result.exit_code == 1
    assert "here" in result.output
    said = run_secost(
        "--resume", directory, "--manifest", there / "manifest.csv", "--device", "cpu", "--stop-after", "0s"
    )
    assert "stopped in time" in said


@pytest.mark.parametrize(("split", "left"), [("train", 1), ("train", 0), ("validation", 0)])
def test_too_few_clips(split: str, left: int, small_manifest: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(small_manifest)
    rows = manifest.indices(split)
    keep = [row for row in range(len(manifest)) if row not in rows[left:]]
    manifest.take(keep).save(tmp_path / "few.csv")
    result = CliRunner().invoke(main, ["--manifest", str(tmp_path / "few.csv"), "--run", str(tmp_path / "run")])
    assert result.exit_code == 1
    assert f"the split '{split}' has {left} clips" in result.output


def test_the_stages_of_the_command_line() -> None:
    assert len(stages_of(None, "0.3", ())) == 5
    assert stages_of(None, "0.3,0.3,0.2,0.1,0.05", ())[5] == {LABELS: 0.05, 4: 0.95}
    assert stages_of(2, "0", ())[1:] == [{0: 1.0}, {1: 1.0}]


def test_durations() -> None:
    assert [DURATION.convert(text, None, None) for text in ("540s", "9m", "2h", "1.5")] == [540, 540, 7200, 1.5]
