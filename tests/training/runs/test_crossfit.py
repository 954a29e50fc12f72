"""Cross-fitted teachers: parts of the training split, and predictions of networks that never heard the clip."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.training.conftest import SMALL, begin, cascade
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.splits import parts
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.store.pack import Packing, pack
from training.networks.predict import predict
from training.runs.experiments.folds import write_parts
from training.runs.experiments.teachers import main
from training.runs.generations import trained_network
from training.runs.run import Run
from training.runtime.checkpoint import load, save
from training.supervision.predictions import read_predictions


def crossfitted(manifest: Path, folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and what is said by the command, with two folds."""
    given = ["--manifest", manifest, "--run", folder / "runs", "--output", folder / "t0.npz", "--folds", "2"]
    result = CliRunner().invoke(main, ["crossfitted", *map(str, given), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.output


def test_parts_hold_whole_groups_and_clips_of_every_class() -> None:
    """Three clips a group; two groups of one class, many of another, and some of none."""
    labels = ["rare"] * 6 + ["common;loud"] * 30 + ["common"] * 27 + ["-"] * 15
    rows = [Row(f"{row}.wav", labels=name, split="train", group=str(row // 3)) for row, name in enumerate(labels)]
    rows.append(Row("other.wav", labels="rare", split="test"))
    manifest = Manifest.from_rows(rows, Vocabulary.of(["rare", "common", "loud"]), Path("/data"))
    part = parts(manifest, 2)
    assert part[-1] == -1
    assert (part[:-1].reshape(-1, 3) == part[:-1:3, None]).all()
    targets = manifest.targets()
    for place in range(2):
        assert targets[part == place].sum(0).tolist() in ([27, 15, 3], [30, 15, 3])
        assert (targets[part == place].sum(1) == 0).sum() in (6, 9)
    assert (part == parts(manifest, 2)).all()
    assert set(parts(manifest, 26)) == {-1, *range(26)}
    with pytest.raises(ManifestError, match="26 groups of clips to train on cannot be cut into 27 parts"):
        parts(manifest, 27)


def test_a_part_is_heard_by_all_networks_but_its_own(small_manifest: Path, tmp_path: Path) -> None:
    whole = Manifest.load(small_manifest)
    folds = [Manifest.load(tmp_path / path) for path in write_parts(whole, 3, tmp_path).values()]
    for row, split in enumerate(whole.splits):
        found = sorted(fold.splits[row] for fold in folds)
        assert found == {"train": ["test", "train", "train"], "validation": ["validation"] * 3, "test": [""] * 3}[split]
    assert all(list(fold.paths) == list(whole.paths) for fold in folds)


def test_unlabelled_clips_are_heard_by_no_network(tmp_path: Path) -> None:
    """Not even where one is of a group that is cut."""
    rows = [
        Row(f"{row}.wav", labels="?" if row % 3 == 0 else "a", split="train", group=str(row // 3)) for row in range(12)
    ]
    manifest = Manifest.from_rows(rows, Vocabulary.of(["a"]), tmp_path)
    for path in write_parts(manifest, 4, tmp_path).values():
        fold = Manifest.load(tmp_path / path)
        assert [name for name in fold.names() if int(name.removesuffix(".wav")) % 3 == 0] == []
        assert sorted(fold.splits) == ["test"] * 2 + ["train"] * 6


@pytest.fixture(scope="module")
def fitted(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cross-fitted networks of two parts: begun by the command, and all but the exports is done."""
    folder = tmp_path_factory.mktemp("crossfit")
    code, said = crossfitted(small_manifest, folder, *SMALL, "--stop-after", "0s")
    assert code == 0, said
    assert "stopped in time; give the same command again to go on" in said
    assert (folder / "runs" / "fold-1" / "config.json").exists()
    assert not (folder / "t0.npz").exists()
    begin(folder / "runs" / "fold-2.csv", folder / "runs" / "fold-2", "--stages", "0")
    for fold, offset in (("fold-1", -2.0), ("fold-2", 1.0)):
        run = folder / "runs" / fold
        cascade(run)
        (run / "model.onnx").touch()
        network = load(run / "generation-0" / "network.pt")
        network["network"]["wels.L4.bias"] += offset  # trained so briefly, both would say the same
        save(network, run / "generation-0" / "network.pt")
    code, said = crossfitted(small_manifest, folder, *SMALL)
    assert code == 0, said
    assert "fold 2: finished" in said
    assert "36 clips, 3 classes" in said
    assert said.count("mAP ") == said.count("accuracy ") == 3
    return folder


def test_no_network_is_asked_of_a_clip_that_it_learnt_from(fitted: Path, small_manifest: Path) -> None:
    whole = Manifest.load(small_manifest)
    said = read_predictions(fitted / "t0.npz", whole.sha256(), whole.vocabulary.labels)
    assert said.about["teacher"] == "2 networks, each asked of training clips that it never heard"
    runs = [Run.open(fitted / "runs" / fold) for fold in ("fold-1", "fold-2")]
    assert runs[0].supervision == [{"labels": 1.0}]  # Teacher-0, unless options say otherwise
    networks = [trained_network(run, 0, torch.device("cpu")) for run in runs]
    each = np.stack([predict(network, runs[0].audio, 8) for network in networks])
    assert np.abs(each[0] - each[1]).min() > 0.1
    expected = each.mean(0)
    for run, scores in zip(runs, each, strict=True):
        held = run.manifest.indices("test")
        assert not set(run.manifest.indices("train")) & set(held)
        expected[held] = scores[held]
    np.testing.assert_allclose(said.probabilities, expected, atol=2e-3)
    assert {*said.about["metrics"]} == {"train", "validation", "test"}


def test_what_was_said_is_not_asked_again_and_teaches(fitted: Path, small_manifest: Path, tmp_path: Path) -> None:
    before = sorted(fitted.glob("runs/*/generation-0/predictions-*.f16"))
    assert len(before) == 2
    times = [path.stat().st_mtime_ns for path in before]
    code, said = crossfitted(small_manifest, fitted, *SMALL, "--workers", "1")
    assert code == 0, said
    assert times == [path.stat().st_mtime_ns for path in before]
    assert (fitted / "runs" / "decoded").resolve() == (small_manifest.parent / "decoded").resolve()
    begin(small_manifest, tmp_path / "next", "--teacher", f"t0={fitted / 't0.npz'}", "--stage", "labels=0.3,t0=0.7")


def test_what_cannot_be_cross_fitted_is_one_line(fitted: Path, small_manifest: Path, tmp_path: Path) -> None:
    there = {path: path.read_bytes() for path in sorted((fitted / "runs").glob("*.csv"))}
    for folder, options, says in (
        (fitted, [*SMALL, "--epochs", "4"], "with other options; name another --run"),
        (fitted, [*SMALL, "--folds", "3"], "of other folds or with other options"),
        (tmp_path, ["--folds", "30"], "24 groups of clips to train on cannot be cut into 30 parts"),
        (tmp_path, ["--resume", "there"], "leave out --resume"),
        (tmp_path, ["--epoch", "3"], "No such option"),
    ):
        code, said = crossfitted(small_manifest, folder, *options)
        assert code in (1, 2)
        assert says in said
    assert there == {path: path.read_bytes() for path in sorted((fitted / "runs").glob("*.csv"))}
    pack(Manifest.load(small_manifest), tmp_path / "packed", Packing())
    code, said = crossfitted(tmp_path / "packed", tmp_path)
    assert code == 1
    assert "Error: the splits of a packed set are fixed; name the manifest that it was packed from" in said


def test_clips_that_cannot_be_used_are_in_no_part(small_manifest: Path, tmp_path: Path) -> None:
    """With a launcher that only says what it would start."""
    shutil.copytree(small_manifest.parent, tmp_path / "set", ignore=shutil.ignore_patterns("decoded"))
    (tmp_path / "set" / "tone-0.wav").write_bytes(b"no sound")
    code, said = crossfitted(tmp_path / "set" / "manifest.csv", tmp_path, "--launch", "echo")
    assert code == 1
    assert "tone-0.wav" in said
    code, said = crossfitted(tmp_path / "set" / "manifest.csv", tmp_path, "--launch", "echo", "--on-error", "skip")
    assert code == 0, said
    folds = [Manifest.load(tmp_path / "runs" / f"fold-{fold}.csv") for fold in "12"]
    assert [len(fold) for fold in folds] == [35, 35]
    assert sorted(len(fold.select("test")) for fold in folds) == [11, 12]
