"""Unlabelled clips in manifests (``?``), and the commands that make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.contract import Label
from training.data.augment.label_noise import with_noise
from training.data.commands import main
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.splits import hold_out
from training.data.manifest.summary import sources
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.sampling import class_weights

VOCABULARY = Vocabulary([Label("Dog", "/m/0bt9lr", 74), Label("Cat", "/m/01yrx", 81)])


def rows(*labels: str, split: str = "train", group: str = "") -> list[Row]:
    return [Row(f"{number}.wav", labels=text, split=split, group=group) for number, text in enumerate(labels)]


def manifest_of(*labels: str) -> Manifest:
    return Manifest.from_rows(rows(*labels), VOCABULARY, Path("/data"))


def data(*arguments: object, fails: bool = False) -> str:
    """Run ``sedkit-train data``; returns its output."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert (result.exit_code != 0) == fails, result.output
    return result.output


# manifests


def test_unlabelled_clips_differ_from_clips_without_a_class(tmp_path: Path) -> None:
    manifest = manifest_of("Dog", "?", "-", "Dog;Cat")
    assert manifest.labels.known.tolist() == [True, False, True, True]
    assert manifest.labelled("train").tolist() == [0, 2, 3]
    assert manifest.indices("train").tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(manifest.targets(), [[1, 0], [np.nan, np.nan], [0, 0], [1, 1]])
    assert manifest.sha256() != manifest_of("Dog", "-", "-", "Dog;Cat").sha256()
    manifest.save(tmp_path / "set.csv")
    loaded = Manifest.load(tmp_path / "set.csv")
    assert loaded.labels.known.tolist() == [True, False, True, True]
    assert [row.labels for row in loaded.rows()] == ["/m/0bt9lr", "?", "-", "/m/0bt9lr;/m/01yrx"]


@pytest.mark.parametrize("split", ["validation", "test", ""])
def test_unlabelled_clips_outside_train_are_refused(split: str) -> None:
    lines = [Row("a.wav", labels="Dog", split=split), Row("b.wav", labels="?", split=split)]
    message = rf"'\?'.*outside the split 'train': move it there.*row 2: b.wav in '{split}'.*skip"
    with pytest.raises(ManifestError, match=message):
        Manifest.from_rows(lines, VOCABULARY, Path("/data"))
    assert len(Manifest.from_rows(lines, VOCABULARY, Path("/data"), "skip")) == 1


def test_question_mark_stands_alone_and_is_no_class() -> None:
    with pytest.raises(ManifestError, match=r"unknown label \('\?' of 0.wav"):
        manifest_of("Dog;?")
    with pytest.raises(ManifestError, match="is named '\\?', which means unknown labels"):
        Vocabulary([Label("?")])
    assert [label.name for label in Vocabulary.of(["Dog", "?", "-"]).labels] == ["Dog"]


def test_label_noise_and_hold_out_leave_unlabelled_clips_as_they_are() -> None:
    manifest = manifest_of("Dog", "?", "Cat", "Dog;Cat")
    noisy, record = with_noise(manifest, 0.5, 0.5, ["train"], 0)
    assert noisy.labels.known.tolist() == manifest.labels.known.tolist()
    assert record["labels"] == 4
    lines = [Row(f"{n}.wav", labels="Dog", split="train", group=f"g{n}") for n in range(20)]
    lines += [Row(f"more{n}.wav", labels="?", split="train", group=f"g{n}") for n in range(0, 20, 2)]
    held = hold_out(Manifest.from_rows(lines, VOCABULARY, Path("/data")), "validation", 0.5)
    assert 0 < held.splits.count("validation") <= 10
    assert set(held.take(np.flatnonzero(~held.labels.known)).splits) == {"train"}
    held.check_splits()


def test_balanced_sampling_draws_unlabelled_clips_with_the_mean_weight() -> None:
    labels = manifest_of("Dog", "Cat", "Dog", "-").labels
    weights = class_weights(manifest_of("Dog", "?", "Cat", "?", "Dog", "-").labels, 2)
    np.testing.assert_array_equal(weights[[0, 2, 4, 5]], class_weights(labels, 2))
    np.testing.assert_allclose(weights[[1, 3]], class_weights(labels, 2).mean())


def test_summary_of_sources_counts_unlabelled_clips_apart() -> None:
    assert sources(manifest_of("Dog", "?", "-")) == ["data", "(unlabelled)", "(none of the classes)"]


# commands


def test_command_unlabelled_splits_recordings_into_clips(tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    for name, seconds in (("short.wav", 3), ("deep/long.flac", 25.5), ("deep/er/nearly.ogg", 14.9)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.full(int(seconds * 8000), 0.1), 8000)
    (folder / "notes.txt").write_text("?")
    labelled = tmp_path / "set.csv"
    Manifest.from_rows([Row("recordings/short.wav", "1", "1", "Cat", "train")], VOCABULARY, tmp_path).save(labelled)
    arguments = ("unlabelled", folder, "--labels", tmp_path / "set.labels.csv", "--output", tmp_path / "more.csv")
    assert "1 x file that is not audio" in data(*arguments)
    clips = [tuple(row[:5]) for row in Manifest.load(tmp_path / "more.csv").rows(str(folder))]
    assert clips == [
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


def test_command_unlabelled_with_unreadable_recordings(tmp_path: Path) -> None:
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


def test_command_csv_accepts_unlabelled_clips(tmp_path: Path) -> None:
    lines = ["path,labels"]
    for number in range(20):
        soundfile.write(tmp_path / f"{number}.wav", np.full(160, 0.1), 16_000)
        lines.append(f"{number}.wav,{'?' if number % 4 == 0 else 'Dog'}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    output = data("csv", tmp_path / "clips.csv", "--output", tmp_path / "set.csv", "--validation-share", "0.2")
    assert "17 train, 3 validation" in output
    assert "unlabelled: 5" in output


def test_marked_classes_are_unknown_and_round_trip(tmp_path: Path) -> None:
    manifest = manifest_of("Dog;?Cat", "-;?Dog", "Cat", "Dog", "? Cat;Dog")
    expected = [[1, np.nan], [np.nan, 0], [0, 1], [1, 0], [1, np.nan]]
    np.testing.assert_array_equal(manifest.targets(), np.array(expected, np.float32))
    np.testing.assert_array_equal(manifest.take([2, 1]).targets(), np.array([expected[2], expected[1]], np.float32))
    manifest.save(tmp_path / "set.csv")
    loaded = Manifest.load(tmp_path / "set.csv")
    np.testing.assert_array_equal(loaded.targets(), manifest.targets())
    assert loaded.sha256() == manifest.sha256() != manifest_of("Dog", "-", "Cat", "Dog", "Dog").sha256()
    assert [row.labels for row in loaded.rows()][:3] == ["/m/0bt9lr;?/m/01yrx", "-;?/m/0bt9lr", "/m/01yrx"]


def test_a_marked_class_must_exist() -> None:
    with pytest.raises(ManifestError, match=r"unknown label \('\?Bird' of 0.wav"):
        manifest_of("Dog;?Bird")
    with pytest.raises(ManifestError, match=r"'\?Dog' begins with '\?'"):
        Vocabulary([Label("?Dog")])
