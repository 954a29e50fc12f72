"""``sedkit-train evaluate crossval``: tables from stored scores or from checkpoints, peers and ensembles."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.training.conftest import copy_cross_validation
from training.data.manifest.table import Manifest
from training.evaluate.commands import main
from training.evaluate.tables.crossval_scores import read_crossval_scores, with_ensemble, with_other_crossval


def evaluate(*arguments: object) -> tuple[int, str, str]:
    """Run ``sedkit-train evaluate crossval``; returns its exit code, standard output and standard error."""
    result = CliRunner().invoke(main, ["crossval", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.stdout, result.stderr


def test_tables_agree_with_the_reports_of_the_folds(cross_validation: Path, tmp_path: Path) -> None:
    code, out, errors = evaluate(cross_validation, "--json", "--confusion", tmp_path / "confusion.csv")
    assert code == 0, errors
    report = json.loads(out)
    assert [system["system"] for system in report["systems"]] == ["Teacher-0", "Student 1"]
    for generation, system in enumerate(report["systems"]):
        for fold in (1, 2):
            path = cross_validation / f"fold-{fold}" / f"generation-{generation}" / "report.json"
            reported = json.loads(path.read_text())["test"]
            for metric in ("accuracy", "mAP"):
                assert system[metric]["folds"][fold - 1] == pytest.approx(reported[metric], abs=1e-6)
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


def test_markdown_leaves_out_unfinished_folds(cross_validation: Path, tmp_path: Path) -> None:
    copy = copy_cross_validation(cross_validation, tmp_path)
    for name in ("network.pt", "scores.npz"):
        (copy / "fold-2" / "generation-1" / name).unlink()
    code, out, errors = evaluate(copy, "--replicates", "100")
    assert code == 0
    assert errors == "left out: fold 2, which is not finished\n"
    assert "tested on 12 clips of 6 recordings in 1 folds, without the unfinished folds 2" in out
    for head in (
        "| accuracy | fold 1 | mean |",
        "| mAP | fold 1 |",
        "| gain over Teacher-0 |",
        "| AP | clips | Teacher-0",
    ):
        assert head in out
    (copy / "fold-1" / "config.json").unlink()
    code, _, errors = evaluate(copy)
    assert code == 1
    assert "no fold is finished" in errors
    code, _, errors = evaluate(tmp_path)
    assert code == 1
    assert "crossval.json: No such file or directory; sedkit-train crossval makes one" in errors


def without_audio(cross_validation: Path, place: Path) -> Path:
    """Copy the files that tables are made from to ``place``, with manifests of audio that does not exist."""
    copy = place / "cv"
    about = json.loads((cross_validation / "crossval.json").read_text())
    for fold, manifest in about["folds"].items():
        whole = Manifest.load(cross_validation / manifest)
        rows = [row._replace(path=str(place.joinpath("gone", *Path(row.path).parts[-2:]))) for row in whole.rows()]
        Manifest.from_rows(rows, whole.vocabulary, place).save(copy / f"fold-{fold}.csv")
        about["folds"][fold] = f"fold-{fold}.csv"
        for path in (cross_validation / f"fold-{fold}").rglob("*"):
            if path.name in ("config.json", "report.json", "scores.npz"):
                target = copy / path.relative_to(cross_validation)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    (copy / "crossval.json").write_text(json.dumps(about))
    return copy


def test_stored_scores_need_neither_networks_nor_audio(cross_validation: Path, tmp_path: Path) -> None:
    copy = without_audio(cross_validation, tmp_path)
    rescored = copy_cross_validation(cross_validation, tmp_path / "rescored")
    for path in rescored.rglob("scores.npz"):
        path.unlink()
    stored, original, recomputed = (
        json.loads(evaluate(place, "--json")[1]) for place in (copy, cross_validation, rescored)
    )
    assert stored == original == recomputed
    names = Manifest.load(copy / "fold-1.csv").names()
    np.savez(copy / "yamnet.npz", names=names, scores=np.zeros((len(names), 4)), features=np.eye(len(names)))
    code, out, errors = evaluate(copy)  # a complete cache is used without the model
    assert code == 0, errors
    assert "| YAMNet, logistic regression on its features |" in out
    np.savez(copy / "yamnet.npz", names=names[1:], scores=np.zeros((len(names), 4)), features=np.eye(len(names)))
    assert "YAMNet" not in evaluate(copy)[1]


def test_stored_scores_of_other_weights_are_not_used(cross_validation: Path, tmp_path: Path) -> None:
    copy = copy_cross_validation(cross_validation, tmp_path)
    before = evaluate(copy, "--json")
    generation = copy / "fold-1" / "generation-1"
    with np.load(generation / "scores.npz") as file:
        held = dict(file)
    np.savez(generation / "scores.npz", **(held | {"test": held["test"][::-1]}))
    assert evaluate(copy, "--json") != before  # its SHA-256 is that of the weights
    np.savez(generation / "scores.npz", **(held | {"test": held["test"][::-1], "network_sha256": np.array("other")}))
    assert evaluate(copy, "--json") == before  # scored again


def test_unusable_score_files_are_one_line_errors(cross_validation: Path, tmp_path: Path) -> None:
    copy = copy_cross_validation(cross_validation, tmp_path)
    generation = copy / "fold-2" / "generation-0"
    path = generation / "scores.npz"
    with np.load(path) as file:
        held = dict(file)

    def refuse(message: str, remedy: str) -> None:
        code, out, errors = evaluate(copy)
        assert (code, out) == (1, "")
        assert errors.startswith(f"Error: {path}: {message}")
        assert errors.count("\n") == 1
        assert errors.endswith(remedy + "\n")

    for remedy in ("remove it, and the clips are scored again", "copy it again, or copy network.pt and the audio"):
        path.write_bytes(b"PK not whole")
        refuse("no scores of the split 'test' in it (", remedy)
        np.savez(path, **{name: held[name] for name in ("validation", "network_sha256")})
        refuse("no scores of the split 'test' in it (", remedy)
        for scores, message in (
            (held["test"][1:], "11x3 scores instead of 12x3 in [0, 1]"),
            (held["test"] + 1, "12x3 scores instead of 12x3 in [0, 1]"),
            (np.full(held["test"].shape, "x"), "no scores of the split 'test' in it ("),
        ):
            np.savez(path, **(held | {"test": scores}))
            refuse(message, remedy)
        (generation / "network.pt").unlink(missing_ok=True)
    path.unlink()
    assert "left out: fold 2, which is not finished" in evaluate(copy)[2]


def test_tables_of_the_clips_of_some_groups(cross_validation: Path) -> None:
    code, out, _ = evaluate(cross_validation, "--group", "tone:", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["clips"]["test"] == [4, 4]
    assert [each["clips"] for each in report["classes"]] == [0, 0, 8]
    assert report["classes"][0]["AP"] == {"Teacher-0": None, "Student 1": None}
    code, _, errors = evaluate(cross_validation, "--group", "song:")
    assert code == 1
    assert "no test clip in a group that starts with 'song:'" in errors


def test_another_cross_validation_beside_and_in_an_ensemble(cross_validation: Path, tmp_path: Path) -> None:
    other = copy_cross_validation(cross_validation, tmp_path).rename(tmp_path / "other")
    for fold in ("fold-1", "fold-2"):
        (other / fold / "generation-1" / "scores.npz").unlink()  # so they are computed for the new network
        shutil.copyfile(other / fold / "generation-0" / "network.pt", other / fold / "generation-1" / "network.pt")
    code, out, errors = evaluate(cross_validation, "--beside", other, "--together", "--json", "--device", "cpu")
    assert code == 0, errors
    systems = json.loads(out)["systems"]
    assert [row["system"] for row in systems] == ["Teacher-0", "Student 1", "other", "together"]
    assert systems[2]["mAP"]["folds"] == pytest.approx(systems[0]["mAP"]["folds"])
    scores = read_crossval_scores(cross_validation, torch.device("cpu"))
    teacher, student = (system.scores for system in scores.networks)
    both = with_ensemble(with_other_crossval(scores, other, torch.device("cpu"))).peers[-1].scores
    for mean, one, two in zip(both, teacher, student, strict=True):
        np.testing.assert_allclose(mean, (one + two) / 2, atol=1e-5)

    code, _, errors = evaluate(cross_validation, "--together")
    assert code == 1
    assert "nothing to average with the last network" in errors
    code, _, errors = evaluate(cross_validation, "--beside", other, "--beside", other)
    assert code == 1
    assert "another system is called 'other'" in errors
    (other / "fold-2" / "generation-1" / "network.pt").unlink()
    code, _, errors = evaluate(cross_validation, "--beside", other)
    assert code == 1
    assert "have other test clips or classes" in errors


def test_peer_on_the_same_clips(cross_validation: Path, tmp_path: Path) -> None:
    """Stored scores are used: no network runs where they are complete."""
    copy = copy_cross_validation(cross_validation, tmp_path)
    names = Manifest.load(cross_validation.parent / "a.csv").names()
    sounds = [("noise", "tone", "clicks").index(name.split("-")[0]) for name in names]
    scores = np.full((len(names), 4), 0.1, np.float32)
    scores[np.arange(len(names)), sounds] = 0.9
    np.savez(copy / "yamnet.npz", names=np.array(names), scores=scores, features=scores)
    model = tmp_path / "yamnet.tflite"
    with zipfile.ZipFile(model, "w") as file:
        file.writestr("yamnet_label_list.txt", "noise\ntone\nhum\nhiss\n")
    code, out, errors = evaluate(copy, "--json", "--peer", f"yamnet={model}")
    assert code == 0, errors
    as_it_is, regression = json.loads(out)["systems"][2:]
    assert as_it_is["system"] == "YAMNet, as it is (2 of 3 classes)"
    assert as_it_is["accuracy"]["mean"] == pytest.approx(2 / 3)
    assert regression["accuracy"]["mean"] == 1
    code, _, errors = evaluate(copy, "--peer", "other=there")
    assert code == 2
    assert "is not yamnet=FILE" in errors
