"""Unlabelled clips: from a folder into a manifest, and teachers alone tell of them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from sedkit.contract import Label
from tests.training.conftest import SMALL, continue_run, metrics, run_secost, start_run, weights
from tests.training.processes import training, wait_for
from training.data.augment.augmentation import Augmentation, mix
from training.data.augment.label_noise import with_noise
from training.data.clips import Clips
from training.data.commands import main
from training.data.manifest.columns import Labels
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.splits import hold_out
from training.data.manifest.summary import sources
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.sampling import class_weights
from training.data.store.pack import Packing, pack
from training.data.store.source import open_audio
from training.loop.batches import Epoch
from training.loop.settings import Execution, Settings
from training.networks.wels import Network
from training.runs.run import Run
from training.runs.teachers import read_teachers
from training.runtime.deadline import Deadline
from training.runtime.lock import Lock
from training.runtime.progress import CascadeProgress
from training.secost import secost
from training.supervision.equations import LABELS, targets
from training.supervision.targets import Targets, targets_from, union
from training.supervision.teachers import cross_fitted_scores, split_metrics

VOCABULARY = Vocabulary([Label("Dog", "/m/0bt9lr", 74), Label("Cat", "/m/01yrx", 81)])
CPU = Execution(torch.device("cpu"))


def rows(*labels: str, split: str = "train", group: str = "") -> list[Row]:
    return [Row(f"{number}.wav", labels=text, split=split, group=group) for number, text in enumerate(labels)]


def manifest_of(*labels: str) -> Manifest:
    return Manifest.from_rows(rows(*labels), VOCABULARY, Path("/data"))


def data(*arguments: object, fails: bool = False) -> str:
    """``sedkit-train data`` with these arguments; what it said."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert (result.exit_code != 0) == fails, result.output
    return result.output


@pytest.fixture(scope="session")
def partly(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data set, of whose 24 training clips every other is unlabelled."""
    path = tmp_path_factory.mktemp("partly") / "manifest.csv"
    manifest = Manifest.load(small_manifest)
    hidden = manifest.indices("train")[1::2]
    lines = [row._replace(labels="?") if number in hidden else row for number, row in enumerate(manifest.rows())]
    Manifest.from_rows(lines, manifest.vocabulary, path.parent).save(path)
    return path


# manifests


def test_not_known_is_something_else_than_none(tmp_path: Path) -> None:
    manifest = manifest_of("Dog", "?", "-", "Dog;Cat")
    assert manifest.labels.known.tolist() == [True, False, True, True]
    assert manifest.labelled("train").tolist() == [0, 2, 3]
    assert manifest.indices("train").tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(manifest.targets(), [[1, 0], [np.nan, np.nan], [0, 0], [1, 1]])
    assert manifest.sha256() != manifest_of("Dog", "-", "-", "Dog;Cat").sha256()
    manifest.save(tmp_path / "set.csv")
    again = Manifest.load(tmp_path / "set.csv")
    assert again.labels.known.tolist() == [True, False, True, True]
    assert [row.labels for row in again.rows()] == ["/m/0bt9lr", "?", "-", "/m/0bt9lr;/m/01yrx"]


@pytest.mark.parametrize("split", ["validation", "test", ""])
def test_unlabelled_clips_outside_train_are_refused(split: str) -> None:
    lines = [Row("a.wav", labels="Dog", split=split), Row("b.wav", labels="?", split=split)]
    says = rf"'\?'.*outside the split 'train': move it there.*row 2: b.wav in '{split}'.*skip"
    with pytest.raises(ManifestError, match=says):
        Manifest.from_rows(lines, VOCABULARY, Path("/data"))
    assert len(Manifest.from_rows(lines, VOCABULARY, Path("/data"), "skip")) == 1


def test_a_mark_stands_alone_and_names_no_class() -> None:
    with pytest.raises(ManifestError, match=r"unknown label \('\?' of 0.wav"):
        manifest_of("Dog;?")
    with pytest.raises(ManifestError, match="is named '\\?', which means unknown labels"):
        Vocabulary([Label("?")])
    assert [label.name for label in Vocabulary.of(["Dog", "?", "-"]).labels] == ["Dog"]


def test_what_is_done_to_labels_leaves_unlabelled_clips_as_they_are() -> None:
    manifest = manifest_of("Dog", "?", "Cat", "Dog;Cat")
    spoilt, record = with_noise(manifest, 0.5, 0.5, ["train"], 0)
    assert spoilt.labels.known.tolist() == manifest.labels.known.tolist()
    assert record["labels"] == 4
    lines = [Row(f"{n}.wav", labels="Dog", split="train", group=f"g{n}") for n in range(20)]
    lines += [Row(f"more{n}.wav", labels="?", split="train", group=f"g{n}") for n in range(0, 20, 2)]
    held = hold_out(Manifest.from_rows(lines, VOCABULARY, Path("/data")), "validation", 0.5)
    assert 0 < held.splits.count("validation") <= 10
    assert set(held.take(np.flatnonzero(~held.labels.known)).splits) == {"train"}
    held.check_splits()


def test_unlabelled_clips_are_drawn_like_the_mean_of_the_others() -> None:
    labels = manifest_of("Dog", "Cat", "Dog", "-").labels
    drawn = class_weights(manifest_of("Dog", "?", "Cat", "?", "Dog", "-").labels, 2)
    np.testing.assert_array_equal(drawn[[0, 2, 4, 5]], class_weights(labels, 2))
    np.testing.assert_allclose(drawn[[1, 3]], class_weights(labels, 2).mean())


# the commands


def test_a_folder_of_recordings_becomes_unlabelled_clips(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    for name, seconds in (("short.wav", 3), ("deep/long.flac", 25.5), ("deep/er/nearly.ogg", 14.9)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(int(seconds * 8000), 0.1), 8000)
    (folder / "notes.txt").write_text("?")
    labelled = tmp_path / "set.csv"
    Manifest.from_rows([Row("recordings/short.wav", "1", "1", "Cat", "train")], VOCABULARY, tmp_path).save(labelled)
    arguments = ("unlabelled", folder, "--labels", tmp_path / "set.labels.csv", "--output", tmp_path / "more.csv")
    assert "1 x file that is not audio" in data(*arguments)
    found = [tuple(row[:5]) for row in Manifest.load(tmp_path / "more.csv").rows(str(folder))]
    assert found == [
        ("short.wav", "", "", "?", "train"),
        ("deep/long.flac", "", "8.5", "?", "train"),
        ("deep/long.flac", "8.5", "8.5", "?", "train"),
        ("deep/long.flac", "17", "8.5", "?", "train"),
        ("deep/er/nearly.ogg", "", "", "?", "train"),
    ]
    both = tmp_path / "all.csv"
    data("merge", labelled, tmp_path / "more.csv", "--output", both)
    assert "clips per class: 0 to 1; unlabelled: 5" in data("check", both)
    assert len(Manifest.load(both).labelled("train")) == 1
    assert "9 clips" in data(*arguments, "--seconds", "5")


def test_recordings_that_cannot_be_read_are_named_or_left_out(tmp_path: Path) -> None:
    VOCABULARY.save(tmp_path / "set.labels.csv")
    folder, output = tmp_path / "recordings", tmp_path / "more.csv"
    arguments = ("unlabelled", folder, "--labels", tmp_path / "set.labels.csv", "--output", output)
    assert "no such folder" in data(*arguments, fails=True)
    folder.mkdir()
    assert "no audio in it" in data(*arguments, fails=True)
    (folder / "broken.wav").write_text("no audio")
    assert "1 x unreadable audio" in data(*arguments, fails=True)
    assert "no audio in it but 1 x unreadable audio" in data(*arguments, "--on-error", "skip", fails=True)
    soundfile.write(folder / "sound.wav", np.full(1600, 0.1), 16_000)
    assert "left out: 1 x unreadable audio" in data(*arguments, "--on-error", "skip")
    assert len(Manifest.load(output)) == 1


def test_a_table_may_leave_labels_open(tmp_path: Path) -> None:
    lines = ["path,labels"]
    for number in range(20):
        soundfile.write(tmp_path / f"{number}.wav", np.full(160, 0.1), 16_000)
        lines.append(f"{number}.wav,{'?' if number % 4 == 0 else 'Dog'}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    said = data("csv", tmp_path / "clips.csv", "--output", tmp_path / "set.csv", "--validation-share", "0.2")
    assert "17 train, 3 validation" in said
    assert "unlabelled: 5" in said


def test_packed_sets_hold_them(partly: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(partly)
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


# targets


def test_teachers_tell_of_what_is_not_known_in_proportion() -> None:
    labels = np.array([[1, 0], [np.nan, np.nan], [1, np.nan]], np.float32)
    first, second = np.random.default_rng(0).random((2, 3, 2)).astype(np.float32)
    found = targets({LABELS: 0.5, 0: 0.2, "other": 0.3}, labels, {0: first, "other": second})
    told = 0.4 * first + 0.6 * second
    known = 0.5 * labels + 0.2 * first + 0.3 * second
    np.testing.assert_allclose(found, np.where(np.isnan(labels), told, known), rtol=1e-6)
    np.testing.assert_array_equal(targets({LABELS: 0.3, 0: 0.7}, labels[1:2], {0: first[1:2]}), first[1:2])


def test_heard_with_an_unlabelled_clip_a_class_is_certain_or_not_known() -> None:
    labels = Labels.of([(0,), (1,), ()]).multi_hot(3)
    labels[2] = np.nan
    nan = np.nan
    found = union(labels, np.array([[0, 1, -1], [0, 2, -1], [2, 0, 1], [2, -1, -1]]))
    np.testing.assert_array_equal(found, [[1, 1, 0], [1, nan, nan], [1, 1, nan], [nan, nan, nan]])


@pytest.mark.parametrize("overlay", [0.0, 0.6])
def test_targets_of_unlabelled_clips_come_from_the_teacher(overlay: float) -> None:
    random = np.random.default_rng(0)
    waveforms = [(3000 * random.standard_normal(10_000)).astype(np.int16) for _ in range(12)]
    labels = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    labels[::2] = np.nan
    torch.manual_seed(0)
    network, of = Network(3, 1 / 16).eval(), Clips(waveforms, labels, [Label(name) for name in "abc"])
    with torch.no_grad():
        scores = np.stack([network(torch.from_numpy(w / np.float32(32768))[None]).clip[0].numpy() for w in waveforms])
    settings = Settings(batch_size=4, crop=0.96, augmentation=Augmentation(mixed=1.0, overlay=overlay))
    supervision = {LABELS: 0.3, 0: 0.7}
    epoch = Epoch(of, Targets(supervision, of, {0: scores}), settings, (0, 1, 1), CPU)
    for part in (part for batch in epoch.batches() for part in batch):
        known, taught = union(labels, part.rows), union(scores, part.rows)
        expected = np.where(np.isnan(known), taught, 0.3 * np.nan_to_num(known) + 0.7 * taught)
        torch.testing.assert_close(part.batch.targets.double(), torch.from_numpy(expected).double(), rtol=0, atol=1e-5)
        mixed = mix(part.batch.targets, part.batch.shares)
        assert ((mixed >= 0) & (mixed <= 1)).all()


# the cascade


class Recorder(CascadeProgress):
    """How many batches an epoch of each generation had."""

    def __init__(self) -> None:
        super().__init__(2, 3)
        self.batches: list[set[int]] = []

    def generation(self, number: int) -> None:
        super().generation(number)
        self.batches.append(set())

    def report(self, row: dict) -> None:
        if "batches" in row:
            self.batches[-1].add(row["batches"])


def test_students_hear_unlabelled_clips_and_resume_to_the_same_networks(partly: Path, tmp_path: Path) -> None:
    arguments = ["--manifest", partly, "--run", tmp_path / "killed", "--stages", "1", *SMALL]
    process = training(*arguments, log=tmp_path / "log")
    wait_for((tmp_path / "killed" / "generation-1" / "metrics.jsonl").exists, process)
    process.kill()
    process.join()
    assert "warning" not in (tmp_path / "log").read_text()
    continue_run(tmp_path / "killed")

    start_run(partly, tmp_path / "whole", "--stages", "1")
    run, recorder = Run.open(tmp_path / "whole"), Recorder()
    with Lock(run.directory):
        secost(run, CPU, recorder, Deadline())
    assert recorder.batches == [{1}, {3}]  # of 8 clips
    for generation in range(2):
        assert metrics(tmp_path / "killed", generation) == metrics(run.directory, generation)
        expected = weights(run.directory, generation)
        for name, value in weights(tmp_path / "killed", generation).items():
            assert torch.equal(value, expected[name])

    clips = run.clips("train")
    teachers = read_teachers(run, run.supervision[1], CPU.device)
    targets = targets_from(
        run.supervision[1], clips, teachers, "clip", run.generation(1), run.data, 8, 1, lambda key: lambda *_: None
    )
    rows = np.flatnonzero(~run.manifest.labels.known[run.manifest.indices("train")])
    np.testing.assert_array_equal(targets.of_clips(rows), targets.scores[0][rows].astype(np.float32))


def test_unlabelled_clips_without_a_teacher_are_a_warning(partly: Path, tmp_path: Path) -> None:
    arguments = ["--manifest", partly, *SMALL, "--stop-after", "0s"]
    for number, stages in enumerate((["--stages", "0"], ["--stages", "2", "--alpha", "1"])):
        said = run_secost(*arguments, "--run", tmp_path / str(number), *stages)
        assert "warning: 12 unlabelled clips are not used: no network has a teacher" in " ".join(said.split())
    config = json.loads((tmp_path / "0" / "config.json").read_text())
    assert config["clips"] == {"train": 24, "validation": 6, "test": 6, "unlabelled": 12}
    assert Run.open(tmp_path / "0").clips("train", labelled=True).multi_hot().sum(1).tolist() == [1] * 12


def test_unlabelled_clips_alone_train_nothing(partly: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(partly)
    alone = np.flatnonzero(~manifest.splits.equals("train") | ~manifest.labels.known)
    manifest.take(alone).save(tmp_path / "manifest.csv")
    with pytest.raises(AssertionError, match="the split 'train' has 0 clips with known labels and needs 2"):
        start_run(tmp_path / "manifest.csv", tmp_path / "run", "--stages", "1")


def test_the_card_counts_them_apart() -> None:
    assert sources(manifest_of("Dog", "?", "-")) == ["data", "(unlabelled)", "(none of the classes)"]


def test_regressions_are_fitted_and_measured_on_labelled_clips(partly: Path) -> None:
    class Heard:
        manifest = Manifest.load(partly)

    truth = np.eye(3)[np.repeat(np.arange(3), 12)]  # of all clips, in order: 12 of each class
    features = truth + 0.01 * np.random.default_rng(0).standard_normal((36, 3))
    said = cross_fitted_scores(features, Heard())
    assert np.isfinite(said).all()
    assert (said.argmax(1) == truth.argmax(1)).all()
    assert split_metrics(said, Heard(), "train")["accuracy"] == 1
