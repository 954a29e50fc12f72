"""The cascade, trained on a small set: the run directory, the reports, and the export in sedkit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.tagger import Tagger
from tests.training.conftest import continue_run, metrics, run_secost, start_run, weights
from training.networks.wels import Network


def test_run_directory_holds_settings_metrics_and_reports(run: Path) -> None:
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


def test_sedkit_gives_the_scores_of_the_exported_student(run: Path, small_manifest: Path) -> None:
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
    """That the same seed gives the same networks is tested in test_faults.py."""
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
@pytest.mark.slow
def test_resume_with_other_settings_gives_the_same_network(
    settings: list[str], small_manifest: Path, tmp_path: Path
) -> None:
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    for directory in (uninterrupted, interrupted):
        start_run(small_manifest, directory, "--stages", "0", "--epochs", "2", *settings)
    continue_run(uninterrupted)
    run_secost("--resume", interrupted, "--device", "cpu", "--stop-after", "0s")
    continue_run(interrupted)
    assert metrics(uninterrupted, 0) == metrics(interrupted, 0)
    expected = weights(interrupted, 0)
    assert all(torch.equal(value, expected[name]) for name, value in weights(uninterrupted, 0).items())


def test_student_with_several_teachers(small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    stages = ["--stage", "labels=0.3,0=0.7", "--stage", "labels=0.2,0=0.4,1=0.4"]
    start_run(small_manifest, directory, *stages, "--epochs", "1")
    continue_run(directory)
    assert metrics(directory, 2)
    report = json.loads((directory / "generation-2" / "report.json").read_text())
    assert report["supervision"] == {"labels": 0.2, "0": 0.4, "1": 0.4}
