"""Starting a run and opening it again: its manifest or folder of recordings, its directory, one-line errors."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.training.conftest import SMALL, SOUNDS, continue_run, metrics, run_secost, start_run
from training.data.demo import CLASSES, make_demo
from training.data.manifest.table import Manifest
from training.runs.notices import warnings
from training.runs.run import Run
from training.runtime.checkpoint import load
from training.secost import main


def fail(*arguments: str | Path) -> str:
    """Run ``sedkit-train secost``, which must exit with 1 and a one-line error; returns the output."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1
    assert sum(line.startswith("Error: ") for line in result.output.splitlines()) == 1
    assert result.output.splitlines()[-1].startswith("Error: ")
    return result.output


@pytest.fixture
def recordings(small_manifest: Path, tmp_path: Path) -> Path:
    """A folder with one folder of 12 recordings a class, and no manifest."""
    folder = tmp_path / "recordings"
    for name in SOUNDS:
        (folder / name).mkdir(parents=True)
        for path in small_manifest.parent.glob(f"{name}-*.wav"):
            shutil.copyfile(path, folder / name / path.name)
    return folder


def test_folder_of_recordings_as_manifest_trains_and_resumes(recordings: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    start_run(recordings, directory, "--stages", "0")
    manifest = Manifest.load(directory / "manifest.csv")
    assert [label.name for label in manifest.vocabulary.labels] == ["clicks", "noise", "tone"]
    assert Counter(manifest.splits) == {"train": 30, "validation": 6}
    assert {Path(path).parent for path in manifest.paths} == {recordings / name for name in SOUNDS}
    assert all(Path(row.path).name.startswith(row.labels) for row in manifest.rows())
    config = json.loads((directory / "config.json").read_text())
    assert config["manifest"] == str(directory / "manifest.csv")
    assert config["clips"] == {"train": 30, "validation": 6, "test": 0}

    output = run_secost("--resume", directory, "--device", "cpu", "--stop-after", "0s")
    assert "stopped in time" in output
    continue_run(directory)
    assert metrics(directory, 0, "epoch") == [1, 2, 3]
    assert not list(recordings.glob("*.csv")), "nothing is written beside the recordings"


def test_resume_with_a_folder_of_recordings(recordings: Path, tmp_path: Path) -> None:
    """As ``sedkit-train experiments --manifest recordings/`` does. The folder may have been moved, but not changed."""
    directory, moved = tmp_path / "run", tmp_path / "moved"
    start_run(recordings, directory, "--stages", "0")
    resume = ("--resume", directory, "--device", "cpu", "--stop-after", "0s", "--manifest")
    assert "stopped in time" in run_secost(*resume, recordings)
    recordings.rename(moved)
    assert "stopped in time" in run_secost(*resume[:-1]), "the decoded clips suffice"
    assert "stopped in time" in run_secost(*resume, moved)
    assert {Path(path).parent.parent for path in Manifest.load(directory / "manifest.csv").paths} == {moved}
    manifest = (directory / "manifest.csv").read_bytes()
    (moved / "tone" / "tone-0.wav").unlink()
    assert f"{moved} changed since the run began" in fail(*resume, moved)
    assert (directory / "manifest.csv").read_bytes() == manifest


def test_demo_preset_trains_on_the_demo_set(tmp_path: Path) -> None:
    make_demo(tmp_path / "demo", 5)
    arguments = ("--manifest", tmp_path / "demo", "--run", tmp_path / "run", "--stages", "1", "--device", "cpu")
    assert "stopped in time" in run_secost("--preset", "demo", *arguments, "--stop-after", "0s")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["clips"] == {"train": 24, "validation": 6, "test": 0}
    assert [label["name"] for label in config["labels"]] == list(CLASSES)
    assert config["settings"]["width"] == 0.0625


def test_seed_decides_the_validation_split_of_a_folder(recordings: Path, tmp_path: Path) -> None:
    for name, seed in (("one", "0"), ("same", "0"), ("other", "1")):
        start_run(recordings, tmp_path / name, "--stages", "0", "--seed", seed)
    one, same, other = (list(Run.open(tmp_path / name).manifest.splits) for name in ("one", "same", "other"))
    assert one == same
    assert one != other


def test_missing_manifest_error_names_a_folder_and_the_demo_set(tmp_path: Path) -> None:
    output = fail("--manifest", tmp_path / "nowhere.csv", "--run", tmp_path / "run")
    assert f"{tmp_path / 'nowhere.csv'}: no such manifest" in output
    assert "--manifest recordings/" in output
    assert "sedkit-train data demo" in output
    assert not (tmp_path / "run").exists()


def test_default_manifest_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = fail()
    assert "Error: manifest.csv: no such manifest" in output
    assert "--manifest recordings/" in output
    assert "sedkit-train data demo" in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["", "clip.wav", "notes/todo.txt"])
def test_folder_without_class_folders_is_an_error(file: str, small_manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    if file:
        (folder / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(small_manifest.parent / "tone-0.wav", folder / file)
    output = fail("--manifest", folder, "--run", tmp_path / "run")
    assert f"Error: {folder}: no audio in folders below it; it must hold one folder per class" in output
    assert not (tmp_path / "run").exists()


def test_run_that_exists_is_not_overwritten(small_manifest: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    start_run(small_manifest, directory, "--stages", "0")
    config = (directory / "config.json").read_bytes()
    assert "holds a run already" in fail("--manifest", small_manifest, "--run", directory, *SMALL)
    assert (directory / "config.json").read_bytes() == config


def test_resume_refuses_changed_data(small_manifest: Path, tmp_path: Path) -> None:
    folder, directory = tmp_path / "data", tmp_path / "run"
    shutil.copytree(small_manifest.parent, folder)
    start_run(folder / "manifest.csv", directory, "--stages", "0")
    lines = (folder / "manifest.csv").read_text().splitlines()
    (folder / "manifest.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert "changed since the run began" in fail("--resume", directory)


def test_resume_with_moved_data(small_manifest: Path, tmp_path: Path) -> None:
    before, after, directory = tmp_path / "before", tmp_path / "after", tmp_path / "run"
    shutil.copytree(small_manifest.parent, before)
    start_run(before / "manifest.csv", directory, "--stages", "0")
    before.rename(after)
    assert "before" in fail("--resume", directory, "--device", "cpu")
    arguments = ("--resume", directory, "--manifest", after / "manifest.csv", "--device", "cpu", "--stop-after", "0s")
    assert "stopped in time" in run_secost(*arguments)
    assert Run.open(directory).manifest.paths[0].startswith(str(after)), "publish and the next --resume find it"


@pytest.mark.parametrize(("split", "left"), [("train", 1), ("train", 0), ("validation", 0)])
def test_too_few_clips_in_a_split(split: str, left: int, small_manifest: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(small_manifest)
    rows = manifest.indices(split)
    keep = [row for row in range(len(manifest)) if row not in rows[left:]]
    manifest.take(keep).save(tmp_path / "few.csv")
    output = fail("--manifest", tmp_path / "few.csv", "--run", tmp_path / "run")
    assert f"the split '{split}' has {left} clips" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
        (["--run", __file__], "cannot be written"),
        (["--resume", "somewhere", "--epochs", "9", "--run", "r"], "leave out run, epochs"),
    ],
)
def test_bad_input_is_a_one_line_error(
    arguments: list[str], message: str, small_manifest: Path, tmp_path: Path
) -> None:
    if "--resume" not in arguments:
        arguments = ["--manifest", str(small_manifest), "--run", str(tmp_path / "run"), *SMALL, *arguments]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert message in result.output
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_run_of_other_clips_as_a_teacher_is_warned_of(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer.csv"
    table = small_manifest.read_text("utf-8").splitlines()
    lines = [line if not number else f"{small_manifest.parent}/{line}" for number, line in enumerate(table)]
    fewer.write_text("\n".join(lines[:1] + lines[2:]))
    shutil.copy(small_manifest.with_suffix(".labels.csv"), fewer.with_suffix(".labels.csv"))
    given = ("--stages", "0", "--teacher", f"big={run}", "--first", "big=1", "--teachers-hear", "view")
    start_run(fewer, tmp_path / "run", *given)
    notices = warnings(Run.open(tmp_path / "run"))
    assert any("the teacher big was trained with another manifest" in notice for notice in notices)


def test_the_last_epoch_is_kept_if_validation_clips_have_no_class(small_manifest: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "none.csv"
    rows = [line.split(",") for line in small_manifest.read_text("utf-8").splitlines()]
    for row in rows[1:]:
        row[0] = f"{small_manifest.parent}/{row[0]}"
        row[3] = "-" if row[4] == "validation" else row[3]
    manifest.write_text("\n".join(map(",".join, rows)))
    shutil.copy(small_manifest.with_suffix(".labels.csv"), manifest.with_suffix(".labels.csv"))
    start_run(manifest, tmp_path / "run", "--stages", "0", "--epochs", "2", "--set", "validate-every=1")
    continue_run(tmp_path / "run")
    assert load(tmp_path / "run" / "generation-0" / "network.pt")["epoch"] == 2
