"""Unlabelled clips in training: only teachers give their targets."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sedkit.contract import Label
from tests.training.conftest import SMALL, continue_run, metrics, run_secost, start_run, weights
from tests.training.processes import training, wait_for
from training.data.augment.augmentation import Augmentation, mix
from training.data.clips import Clips
from training.data.manifest.columns import Labels
from training.data.manifest.table import Manifest
from training.data.store.pack import Packing, pack
from training.data.store.source import open_audio
from training.loop.batches import Epoch
from training.loop.settings import Execution, Settings
from training.networks.wels import Network
from training.runs.run import Run
from training.runs.teacher_files import read_teachers
from training.runtime.deadline import Deadline
from training.runtime.lock import Lock
from training.runtime.progress import CascadeProgress
from training.secost import secost
from training.supervision.equations import LABELS, targets
from training.supervision.targets import Targets, targets_from, union
from training.supervision.teacher_commands import cross_fitted_scores, split_metrics

CPU = Execution(torch.device("cpu"))


@pytest.fixture(scope="session")
def half_labelled(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data set with every other of its 24 training clips unlabelled."""
    path = tmp_path_factory.mktemp("half-labelled") / "manifest.csv"
    manifest = Manifest.load(small_manifest)
    hidden = manifest.indices("train")[1::2]
    lines = [row._replace(labels="?") if number in hidden else row for number, row in enumerate(manifest.rows())]
    Manifest.from_rows(lines, manifest.vocabulary, path.parent).save(path)
    return path


# targets


def test_weight_of_unknown_labels_goes_to_the_teachers_in_proportion() -> None:
    labels = np.array([[1, 0], [np.nan, np.nan], [1, np.nan]], np.float32)
    first, second = np.random.default_rng(0).random((2, 3, 2)).astype(np.float32)
    actual = targets({LABELS: 0.5, 0: 0.2, "other": 0.3}, labels, {0: first, "other": second})
    unknown = 0.4 * first + 0.6 * second
    known = 0.5 * labels + 0.2 * first + 0.3 * second
    np.testing.assert_allclose(actual, np.where(np.isnan(labels), unknown, known), rtol=1e-6)
    np.testing.assert_array_equal(targets({LABELS: 0.3, 0: 0.7}, labels[1:2], {0: first[1:2]}), first[1:2])


def test_union_with_an_unlabelled_clip_has_known_positives_and_unknown_others() -> None:
    labels = Labels.of([(0,), (1,), ()]).multi_hot(3)
    labels[2] = np.nan
    nan = np.nan
    actual = union(labels, np.array([[0, 1, -1], [0, 2, -1], [2, 0, 1], [2, -1, -1]]))
    np.testing.assert_array_equal(actual, [[1, 1, 0], [1, nan, nan], [1, 1, nan], [nan, nan, nan]])


@pytest.mark.parametrize("overlay", [0.0, 0.6])
def test_targets_of_unlabelled_clips_come_from_the_teacher(overlay: float) -> None:
    random = np.random.default_rng(0)
    waveforms = [(3000 * random.standard_normal(10_000)).astype(np.int16) for _ in range(12)]
    labels = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    labels[::2] = np.nan
    torch.manual_seed(0)
    network, clips = Network(3, 1 / 16).eval(), Clips(waveforms, labels, [Label(name) for name in "abc"])
    with torch.no_grad():
        scores = np.stack([network(torch.from_numpy(w / np.float32(32768))[None]).clip[0].numpy() for w in waveforms])
    settings = Settings(batch_size=4, crop=0.96, augmentation=Augmentation(mixed=1.0, overlay=overlay))
    supervision = {LABELS: 0.3, 0: 0.7}
    epoch = Epoch(clips, Targets(supervision, clips, {0: scores}), settings, (0, 1, 1), CPU)
    for part in (part for batch in epoch.batches() for part in batch):
        known, scored = union(labels, part.rows), union(scores, part.rows)
        expected = np.where(np.isnan(known), scored, 0.3 * np.nan_to_num(known) + 0.7 * scored)
        torch.testing.assert_close(part.batch.targets.double(), torch.from_numpy(expected).double(), rtol=0, atol=1e-5)
        mixed = mix(part.batch.targets, part.batch.shares)
        assert ((mixed >= 0) & (mixed <= 1)).all()


def test_regressions_are_fitted_and_measured_on_labelled_clips(half_labelled: Path) -> None:
    audio = SimpleNamespace(manifest=Manifest.load(half_labelled))
    truth = np.eye(3)[np.repeat(np.arange(3), 12)]  # the manifest has 12 clips of each class in order
    features = truth + 0.01 * np.random.default_rng(0).standard_normal((36, 3))
    scores = cross_fitted_scores(features, audio)
    assert np.isfinite(scores).all()
    assert (scores.argmax(1) == truth.argmax(1)).all()
    assert split_metrics(scores, audio, "train")["accuracy"] == 1


# runs


def test_packed_set_with_unlabelled_clips(half_labelled: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(half_labelled)
    pack(manifest, tmp_path / "packed", Packing(shard_clips=10))
    run = Run(tmp_path / "run", Settings(), [], 0, open_audio(tmp_path / "packed"), "")
    assert int((~run.manifest.labels.known).sum()) == 12
    assert len(run.clips("train")) == 24
    labelled = run.clips("train", labelled=True)
    assert labelled.shards.sum() == len(labelled) == 12
    assert not np.isnan(labelled.labels[labelled.order(4, np.random.default_rng(0)).ravel()]).any()
    with tarfile.open(tmp_path / "packed" / "train-00000.tar") as tar:
        about = [json.load(io.TextIOWrapper(tar.extractfile(name))) for name in tar.getnames() if "json" in name]
    assert {clip["labels"] is None for clip in about} == {True, False}


class Recorder(CascadeProgress):
    """Records the number of batches an epoch of each generation."""

    def __init__(self) -> None:
        super().__init__(2, 3)
        self.batches: list[set[int]] = []

    def generation(self, number: int) -> None:
        super().generation(number)
        self.batches.append(set())

    def report(self, row: dict) -> None:
        if "batches" in row:
            self.batches[-1].add(row["batches"])


@pytest.mark.slow
def test_student_trains_on_unlabelled_clips_and_resumes(half_labelled: Path, tmp_path: Path) -> None:
    arguments = ["--manifest", half_labelled, "--run", tmp_path / "killed", "--stages", "1", *SMALL]
    process = training(*arguments, log=tmp_path / "log")
    wait_for((tmp_path / "killed" / "generation-1" / "metrics.jsonl").exists, process)
    process.kill()
    process.join()
    assert "warning" not in (tmp_path / "log").read_text()
    continue_run(tmp_path / "killed")

    start_run(half_labelled, tmp_path / "uninterrupted", "--stages", "1")
    run, recorder = Run.open(tmp_path / "uninterrupted"), Recorder()
    with Lock(run.directory):
        secost(run, CPU, recorder, Deadline())
    assert recorder.batches == [{1}, {3}], "Teacher-0: the 12 labelled clips; its student: all 24; 8 a batch"
    for generation in range(2):
        assert metrics(tmp_path / "killed", generation) == metrics(run.directory, generation)
        expected = weights(run.directory, generation)
        for name, value in weights(tmp_path / "killed", generation).items():
            assert torch.equal(value, expected[name])

    clips = run.clips("train")
    teachers = read_teachers(run, run.supervision[1], CPU.device)
    targets = targets_from(
        run.supervision[1], clips, teachers, "clip", run.generation(1), run.data, 8, 1, lambda key: lambda *_: None, {}
    )
    rows = np.flatnonzero(~run.manifest.labels.known[run.manifest.indices("train")])
    np.testing.assert_array_equal(targets.of_clips(rows), targets.scores[0][rows].astype(np.float32))


def test_unlabelled_clips_without_a_teacher_are_a_warning(half_labelled: Path, tmp_path: Path) -> None:
    arguments = ["--manifest", half_labelled, *SMALL, "--stop-after", "0s"]
    for number, stages in enumerate((["--stages", "0"], ["--stages", "2", "--alpha", "1"])):
        output = run_secost(*arguments, "--run", tmp_path / str(number), *stages)
        assert "warning: 12 unlabelled clips are not used: no network has a teacher" in " ".join(output.split())
    config = json.loads((tmp_path / "0" / "config.json").read_text())
    assert config["clips"] == {"train": 24, "validation": 6, "test": 6, "unlabelled": 12}
    assert Run.open(tmp_path / "0").clips("train", labelled=True).multi_hot().sum(1).tolist() == [1] * 12


def test_training_without_labelled_clips_is_an_error(half_labelled: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(half_labelled)
    kept = np.flatnonzero(~manifest.splits.equals("train") | ~manifest.labels.known)
    manifest.take(kept).save(tmp_path / "manifest.csv")
    with pytest.raises(AssertionError, match="the split 'train' has 0 clips with known labels and needs 2"):
        start_run(tmp_path / "manifest.csv", tmp_path / "run", "--stages", "1")
