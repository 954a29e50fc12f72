"""Cross-validation: folds without leaks, a cascade a fold, and tables that scores or checkpoints give again."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from sedkit.geometry import SAMPLE_RATE
from sedkit.metrics import summary
from tests.training.conftest import SMALL, continue_run, start_run
from training.data.manifest.table import Manifest
from training.evaluate.commands import main as evaluate
from training.evaluate.metrics.bootstrap import accuracy, mean_ap, resampling_weights
from training.evaluate.tables.crossval_scores import read_crossval_scores, with_ensemble, with_other_crossval
from training.runs.experiments.crossval import main as crossval
from training.runs.experiments.folds import fold_splits, write_folds


def run(command, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.stdout, result.stderr


def manifests(small_manifest: Path, folder: Path) -> list[Path]:
    """Two folds of the small data set: each is tested on a third of it, in groups of two clips."""
    whole = Manifest.load(small_manifest)
    takes = [int(Path(path).stem.split("-")[1]) for path in whole.paths]
    groups = [f"{Path(path).stem.split('-')[0]}:{take // 2}" for path, take in zip(whole.paths, takes, strict=True)]
    paths = []
    for fold in (0, 1):
        splits = ["test" if take // 4 == fold else "validation" if take // 2 == 4 else "train" for take in takes]
        rows = [
            row._replace(split=split, group=group)
            for row, split, group in zip(whole.rows(), splits, groups, strict=True)
        ]
        paths.append(folder / f"{'ab'[fold]}.csv")
        Manifest.from_rows(rows, whole.vocabulary, folder).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def cv(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation of two folds and one student, begun by the command; all but the exports is done."""
    folder = tmp_path_factory.mktemp("cv")
    first, second = manifests(small_manifest, folder)
    command = ["--manifest", first, "--manifest", second, "--run", folder / "cv", "--stages", "1", *SMALL]
    code, _, said = run(crossval, *command, "--stop-after", "0s")
    assert code == 0, said
    assert "stopped in time; give the same command again to continue" in said
    assert (folder / "cv" / "fold-1" / "config.json").exists()
    assert not (folder / "cv" / "fold-2").exists()
    start_run(second, folder / "cv" / "fold-2", "--stages", "1")
    for fold in ("fold-1", "fold-2"):
        continue_run(folder / "cv" / fold)
    return folder / "cv"


def copied(cv: Path, place: Path) -> Path:
    """A copy of a cross-validation, with its manifests beside it."""
    return shutil.copytree(cv.parent, place, dirs_exist_ok=True) / cv.name


def test_another_command_does_not_go_on_with_it(cv: Path) -> None:
    first, second = cv.parent / "a.csv", cv.parent / "b.csv"
    given = ["--run", cv, "--manifest", first, "--manifest", second, "--stages", "1", *SMALL]
    for other in (["--epochs", "4"], ["--manifest", first]):
        code, _, said = run(crossval, *given, *other)
        assert code == 1
        assert "holds a cross-validation with other folds or options; name another --run" in said


def test_finished_folds_are_passed_over(cv: Path, tmp_path: Path) -> None:
    copy = copied(cv, tmp_path)
    for fold in ("fold-1", "fold-2"):
        (copy / fold / "model.onnx").touch()
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    code, _, said = run(
        crossval,
        "--run",
        copy,
        "--manifest",
        first,
        "--manifest",
        second,
        "--stages",
        "1",
        *SMALL,
        "--set",
        "workers=1",
    )
    assert code == 0
    assert said.splitlines()[:2] == ["fold 1: finished", "fold 2: finished"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "1"], "name the data with one of --esc50, --shipped and --manifest"),
        (["--manifest", "{one}"], "--manifest: one a fold, at least two"),
        (["--manifest", "{one}", "--manifest", "{one}", "--epoch", "3"], "No such option"),
        (["--manifest", "{one}", "--manifest", "{one}", "--resume", "there"], "--resume"),
        (["--esc50", "{folder}"], "esc50.csv: cannot be read"),
        (
            ["--manifest", "{one}", "--manifest", "{one}", "--fine-tune", "wels={folder}"],
            "may have been trained on test clips",
        ),
        (
            ["--manifest", "{one}", "--manifest", "{one}", "--teacher", "big={folder}"],
            "may have been trained on test clips",
        ),
        (
            ["--manifest", "{one}", "--manifest", "{one}", "--teacher", "big=a.onnx"],
            "may have been trained on test clips",
        ),
        (["--esc50", "{folder}", "--fine-tune", "wels=small"], "may have been trained on test clips"),
        (["--shipped", "{folder}", "--preset", "own"], "may have been trained on test clips"),
    ],
)
def test_what_is_refused_before_anything_is_trained(
    small_manifest: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [argument.format(one=small_manifest, folder=small_manifest.parent) for argument in arguments]
    code, _, said = run(crossval, "--run", tmp_path / "cv", *given)
    assert code in (1, 2)
    assert message in said
    assert not (tmp_path / "cv").exists()


def test_tables_are_those_of_the_checkpoints(cv: Path, tmp_path: Path) -> None:
    code, out, said = run(evaluate, "crossval", cv, "--json", "--confusion", tmp_path / "confusion.csv")
    assert code == 0, said
    report = json.loads(out)
    assert [system["system"] for system in report["systems"]] == ["Teacher-0", "Student 1"]
    for generation, system in enumerate(report["systems"]):
        for fold in (1, 2):
            held = json.loads((cv / f"fold-{fold}" / f"generation-{generation}" / "report.json").read_text())["test"]
            for metric in ("accuracy", "mAP"):
                assert system[metric]["folds"][fold - 1] == pytest.approx(held[metric], abs=1e-6)
        for metric in ("accuracy", "mAP"):
            low, high = system[metric]["interval"]
            assert low <= system[metric]["mean"] <= high
            assert system[metric]["mean"] == pytest.approx(np.mean(system[metric]["folds"]))
    teacher, student = report["systems"]
    assert teacher["gain"] == {}
    for metric in ("accuracy", "mAP"):
        gains = np.subtract(student[metric]["folds"], teacher[metric]["folds"])
        assert student["gain"][metric]["folds"] == pytest.approx(gains)
        assert student["gain"][metric]["deviation"] == pytest.approx(np.std(gains, ddof=1))
    assert report["clips"] == {"train": [18, 18], "validation": [6, 6], "test": [12, 12]}
    assert report["sources"] == 12
    with (tmp_path / "confusion.csv").open() as file:
        head, *rows = csv.reader(file)
    assert head == ["", "clicks", "noise", "tone"]
    assert [sum(map(int, row[1:])) for row in rows] == [8, 8, 8]
    right = sum(int(row[1 + place]) for place, row in enumerate(rows))
    assert right / 24 == pytest.approx(student["accuracy"]["mean"])


def test_markdown_and_folds_that_are_not_finished(cv: Path, tmp_path: Path) -> None:
    copy = copied(cv, tmp_path)
    for name in ("network.pt", "scores.npz"):
        (copy / "fold-2" / "generation-1" / name).unlink()
    code, out, said = run(evaluate, "crossval", copy, "--replicates", "100")
    assert code == 0
    assert said == "left out: fold 2, which is not finished\n"
    assert "tested on 12 clips of 6 recordings in 1 folds, without the unfinished folds 2" in out
    for head in (
        "| accuracy | fold 1 | mean |",
        "| mAP | fold 1 |",
        "| gain over Teacher-0 |",
        "| AP | clips | Teacher-0",
    ):
        assert head in out
    (copy / "fold-1" / "config.json").unlink()
    code, _, said = run(evaluate, "crossval", copy)
    assert code == 1
    assert "no fold is finished" in said
    code, _, said = run(evaluate, "crossval", tmp_path)
    assert code == 1
    assert "crossval.json: No such file or directory; sedkit-train crossval makes one" in said


def without_audio(cv: Path, place: Path) -> Path:
    """A copy of a cross-validation at a place of its own: its tables' files alone, and manifests of absent audio."""
    copy = place / "cv"
    about = json.loads((cv / "crossval.json").read_text())
    for fold, manifest in about["folds"].items():
        whole = Manifest.load(cv / manifest)
        rows = [row._replace(path=str(place.joinpath("gone", *Path(row.path).parts[-2:]))) for row in whole.rows()]
        Manifest.from_rows(rows, whole.vocabulary, place).save(copy / f"fold-{fold}.csv")
        about["folds"][fold] = f"fold-{fold}.csv"
        for path in (cv / f"fold-{fold}").rglob("*"):
            if path.name in ("config.json", "report.json", "scores.npz"):
                target = copy / path.relative_to(cv)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    (copy / "crossval.json").write_text(json.dumps(about))
    return copy


def test_scores_that_were_kept_need_neither_networks_nor_audio(cv: Path, tmp_path: Path) -> None:
    copy, scored_anew = without_audio(cv, tmp_path), copied(cv, tmp_path / "anew")
    for path in scored_anew.rglob("scores.npz"):
        path.unlink()
    kept, again, anew = (json.loads(run(evaluate, "crossval", place, "--json")[1]) for place in (copy, cv, scored_anew))
    assert kept == again == anew
    names = Manifest.load(copy / "fold-1.csv").names()
    np.savez(copy / "yamnet.npz", names=names, scores=np.zeros((len(names), 4)), features=np.eye(len(names)))
    code, out, said = run(evaluate, "crossval", copy)  # a complete cache is used without the model
    assert code == 0, said
    assert "| YAMNet, logistic regression on its features |" in out
    np.savez(copy / "yamnet.npz", names=names[1:], scores=np.zeros((len(names), 4)), features=np.eye(len(names)))
    assert "YAMNet" not in run(evaluate, "crossval", copy)[1]


def test_scores_of_other_weights_are_not_taken(cv: Path, tmp_path: Path) -> None:
    copy = copied(cv, tmp_path)
    before = run(evaluate, "crossval", copy, "--json")
    generation = copy / "fold-1" / "generation-1"
    with np.load(generation / "scores.npz") as file:
        held = dict(file)
    np.savez(generation / "scores.npz", **(held | {"test": held["test"][::-1]}))
    assert run(evaluate, "crossval", copy, "--json") != before  # of these weights, so it says
    np.savez(generation / "scores.npz", **(held | {"test": held["test"][::-1], "network_sha256": np.array("other")}))
    assert run(evaluate, "crossval", copy, "--json") == before  # scored anew


def test_scores_that_cannot_be_used_are_one_line(cv: Path, tmp_path: Path) -> None:
    copy = copied(cv, tmp_path)
    generation = copy / "fold-2" / "generation-0"
    path = generation / "scores.npz"
    with np.load(path) as file:
        held = dict(file)

    def refused(says: str, remedy: str) -> None:
        code, out, said = run(evaluate, "crossval", copy)
        assert (code, out) == (1, "")
        assert said.startswith(f"Error: {path}: {says}")
        assert said.count("\n") == 1
        assert said.endswith(remedy + "\n")

    for remedy in ("remove it, and the clips are scored again", "copy it again, or else network.pt and the audio"):
        path.write_bytes(b"PK not whole")
        refused("no scores of the split 'test' in it (", remedy)
        np.savez(path, **{name: held[name] for name in ("validation", "network_sha256")})
        refused("no scores of the split 'test' in it (", remedy)
        for scores, says in (
            (held["test"][1:], "11x3 scores, where 12x3 in [0, 1] belong"),
            (held["test"] + 1, "12x3 scores, where 12x3 in [0, 1] belong"),
            (np.full(held["test"].shape, "x"), "no scores of the split 'test' in it ("),
        ):
            np.savez(path, **(held | {"test": scores}))
            refused(says, remedy)
        (generation / "network.pt").unlink(missing_ok=True)
    path.unlink()
    assert "left out: fold 2, which is not finished" in run(evaluate, "crossval", copy)[2]


def test_clips_of_some_groups(cv: Path) -> None:
    code, out, _ = run(evaluate, "crossval", cv, "--group", "tone:", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["clips"]["test"] == [4, 4]
    assert [each["clips"] for each in report["classes"]] == [0, 0, 8]
    assert report["classes"][0]["AP"] == {"Teacher-0": None, "Student 1": None}
    code, _, said = run(evaluate, "crossval", cv, "--group", "song:")
    assert code == 1
    assert "no test clip in a group that starts with 'song:'" in said


def test_networks_of_another_cross_validation_stand_beside_and_together(cv: Path, tmp_path: Path) -> None:
    other = copied(cv, tmp_path).rename(tmp_path / "other")
    for fold in ("fold-1", "fold-2"):
        (other / fold / "generation-1" / "scores.npz").unlink()  # then those of its last network are made
        shutil.copyfile(other / fold / "generation-0" / "network.pt", other / fold / "generation-1" / "network.pt")
    code, out, said = run(evaluate, "crossval", cv, "--beside", other, "--together", "--json", "--device", "cpu")
    assert code == 0, said
    systems = json.loads(out)["systems"]
    assert [row["system"] for row in systems] == ["Teacher-0", "Student 1", "other", "together"]
    assert systems[2]["mAP"]["folds"] == pytest.approx(systems[0]["mAP"]["folds"])
    found = read_crossval_scores(cv, torch.device("cpu"))
    teacher, student = (system.scores for system in found.networks)
    both = with_ensemble(with_other_crossval(found, other, torch.device("cpu"))).peers[-1].scores
    for mean, one, two in zip(both, teacher, student, strict=True):
        np.testing.assert_allclose(mean, (one + two) / 2, atol=1e-5)

    code, _, said = run(evaluate, "crossval", cv, "--together")
    assert code == 1
    assert "nothing to average with the last network" in said
    code, _, said = run(evaluate, "crossval", cv, "--beside", other, "--beside", other)
    assert code == 1
    assert "another system is called 'other'" in said
    (other / "fold-2" / "generation-1" / "network.pt").unlink()
    code, _, said = run(evaluate, "crossval", cv, "--beside", other)
    assert code == 1
    assert "have other test clips or classes" in said


def test_a_peer_on_the_same_clips(cv: Path, tmp_path: Path) -> None:
    """Scores that were kept are used: no network is run where they are complete."""
    copy = copied(cv, tmp_path)
    names = Manifest.load(cv.parent / "a.csv").names()
    sounds = [("noise", "tone", "clicks").index(name.split("-")[0]) for name in names]
    scores = np.full((len(names), 4), 0.1, np.float32)
    scores[np.arange(len(names)), sounds] = 0.9
    np.savez(copy / "yamnet.npz", names=np.array(names), scores=scores, features=scores)
    model = tmp_path / "yamnet.tflite"
    with zipfile.ZipFile(model, "w") as file:
        file.writestr("yamnet_label_list.txt", "noise\ntone\nhum\nhiss\n")
    code, out, said = run(evaluate, "crossval", copy, "--json", "--peer", f"yamnet={model}")
    assert code == 0, said
    as_it_is, regression = json.loads(out)["systems"][2:]
    assert as_it_is["system"] == "YAMNet, as it is (2 of 3 classes)"
    assert as_it_is["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert regression["accuracy"]["mean"] == 1
    code, _, said = run(evaluate, "crossval", copy, "--peer", "other=there")
    assert code == 2
    assert "is not yamnet=FILE" in said


@pytest.fixture(scope="module")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 clips in five folds, of 38 sources: two of them lie in two folds."""
    folder = tmp_path_factory.mktemp("data") / "esc50"
    (folder / "audio").mkdir(parents=True)
    rows = ["filename,fold,target,category,esc10,src_file,take,license,author,url"]
    for number in range(40):
        source = number // 2 if number < 4 else number
        category = ("dog", "rooster", "pig", "cow")[number // 5 % 4]
        rows.append(f"{number}.wav,{1 + number % 5},0,{category},True,{source},A,CC0,author,url")
        soundfile.write(folder / "audio" / f"{number}.wav", np.zeros(160), SAMPLE_RATE)
    (folder / "esc50.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_folds_of_esc50_do_not_leak(esc50: Path, tmp_path: Path) -> None:
    folds = write_folds("esc50", esc50, tmp_path, 0.2)
    assert list(folds) == ["1", "2", "3", "4", "5"]
    found = [Manifest.load(tmp_path / path) for path in folds.values()]
    tested = [path for manifest in found for path in manifest.select("test").paths]
    assert len(tested) == len(set(tested)) == 40
    assert len({tuple(manifest.paths) for manifest in found}) == 1  # decoded once
    for manifest in found:
        test, validation, train = (set(manifest.select(split).groups) for split in ("test", "validation", "train"))
        assert validation
        assert not test & validation | test & train | validation & train
    assert sum(manifest.splits.count("") for manifest in found) == 4  # two sources, each in two folds


def test_every_fold_has_its_own_manifest_and_options(esc50: Path, tmp_path: Path, capfd: Any) -> None:
    """With a launcher that only says what it would start."""
    given = ["--esc50", esc50, "--run", tmp_path / "cv", "--launch", "echo"]
    given += ["--set", "license={fold}", "--preset", "audioset"]
    code, _, _ = run(crossval, *given)
    assert code == 0
    directory = tmp_path / "cv"
    begun = f"-m training.secost --directory {directory / 'fold-1'} --manifest {directory / 'fold-1.csv'} "
    assert capfd.readouterr().out == begun + "--preset audioset --set license=1\n"
    for fold in "12345":
        (directory / f"fold-{fold}").mkdir()
    (directory / "fold-1" / "model.onnx").touch()
    (directory / "fold-2" / "config.json").touch()
    code, _, _ = run(crossval, *given, "--device", "cpu")
    resumed = f"-m training.secost --resume {directory / 'fold-2'} --manifest {directory / 'fold-2.csv'} --device cpu\n"
    assert capfd.readouterr().out == resumed


def test_clips_that_are_not_free_are_tested_on_alone(small_manifest: Path) -> None:
    manifest = Manifest.load(small_manifest)
    folds = [str(row % 3) for row in range(len(manifest))]
    free = np.arange(len(manifest)) % 4 != 0
    splits = np.array(fold_splits(manifest, folds, "0", free, 0.2))
    test = np.array(folds) == "0"
    assert (splits[test] == "test").all()
    assert (splits[~test & ~free] == "").all()
    assert set(splits[~test & free]) == {"train", "validation"}


def test_a_replicate_that_draws_every_source_once_is_the_figure_itself() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((60, 5)) < 0.3).astype(np.float32)
    scores = random.integers(0, 8, (60, 5)).astype(np.float32) / 8  # many are equal
    once = np.ones((1, 60))
    found = summary(targets, scores, [str(label) for label in range(5)])
    assert accuracy(targets, scores, once) == pytest.approx(found.accuracy)
    assert mean_ap(targets, scores, once) == pytest.approx(found.mean_ap)
    twice = random.integers(0, 3, 60)
    again = summary(np.repeat(targets, twice, 0), np.repeat(scores, twice, 0), [str(label) for label in range(5)])
    assert accuracy(targets, scores, twice[None].astype(float)) == pytest.approx(again.accuracy)
    assert mean_ap(targets, scores, twice[None].astype(float)) == pytest.approx(again.mean_ap)


def test_sources_are_drawn_whole() -> None:
    weights = resampling_weights(["a", "b", "a", "c", "b"], 500)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert weights.mean(0) == pytest.approx(np.ones(5), abs=0.15)
