"""External teachers: score files and the commands that make them, and cascades that learn from them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.training.conftest import SMALL, continue_run, metrics, start_run
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.runs.run import Run
from training.runs.teacher_files import read_teachers
from training.supervision.equations import LABELS
from training.supervision.predictions import Predictions, TeacherError, read_predictions, write_predictions
from training.supervision.teacher_commands import cross_fitted_scores, main


@pytest.fixture
def oracle(small_manifest: Path, tmp_path: Path) -> Path:
    """A score file: 0.9 for the classes of a clip, and 0.1 for all others."""
    manifest = Manifest.load(small_manifest)
    scores = 0.1 + 0.8 * manifest.targets(np.arange(len(manifest)))
    path = tmp_path / "oracle.npz"
    labels = manifest.vocabulary.labels
    write_predictions(path, Predictions(scores.astype(np.float16), {"teacher": "oracle"}), manifest.sha256(), labels)
    return path


def test_score_file_belongs_to_one_manifest(oracle: Path, small_manifest: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(small_manifest)
    labels = manifest.vocabulary.labels
    predictions = read_predictions(oracle, manifest.sha256(), labels, len(manifest))
    assert predictions.about == {"teacher": "oracle"}
    assert predictions.probabilities.shape == (len(manifest), len(labels))
    for data, classes in (("another", labels), (manifest.sha256(), labels[:-1])):
        with pytest.raises(TeacherError, match="another manifest or other classes"):
            read_predictions(oracle, data, classes, len(manifest))
    for content in (b"", b"no such thing", oracle.read_bytes()[:200]):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(TeacherError, match="cannot be read"):
            read_predictions(tmp_path / "broken.npz", manifest.sha256(), labels, len(manifest))


def test_score_file_may_hold_logits(oracle: Path, small_manifest: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(small_manifest)
    known = manifest.sha256(), manifest.vocabulary.labels, len(manifest)
    with np.load(oracle) as file:
        about, shape = file["about"], file["probabilities"].shape
    logits = np.random.default_rng(0).normal(0, 8, shape).astype(np.float16)
    np.savez(tmp_path / "logits.npz", logits=logits, about=about)
    found = read_predictions(tmp_path / "logits.npz", *known).probabilities
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-6)
    assert found.max() < 1
    np.savez(tmp_path / "short.npz", logits=logits[:-1], about=about)
    with pytest.raises(TeacherError, match="scores of shape"):
        read_predictions(tmp_path / "short.npz", *known)
    np.savez(tmp_path / "nameless.npz", logits=logits, about=np.array("{}"))
    with pytest.raises(TeacherError, match="another manifest"):
        read_predictions(tmp_path / "nameless.npz", *known)
    logits[3, 1] = np.nan
    np.savez(tmp_path / "nan.npz", logits=logits, about=about)
    with pytest.raises(TeacherError, match="outside"):
        read_predictions(tmp_path / "nan.npz", *known)


@pytest.mark.parametrize("value", [1.01, -0.01, np.nan, np.inf, "0.5", 0.5j])
def test_scores_that_are_no_probabilities_are_refused(
    oracle: Path, small_manifest: Path, tmp_path: Path, value: object
) -> None:
    manifest = Manifest.load(small_manifest)
    with np.load(oracle) as file:
        about, probabilities = file["about"], file["probabilities"].astype(np.array(value).dtype)
    probabilities[3, 1] = value
    np.savez(tmp_path / "wrong.npz", probabilities=probabilities, about=about)
    with pytest.raises(TeacherError, match=r"wrong.npz: probabilities outside \[0, 1\]; make the file again"):
        read_predictions(tmp_path / "wrong.npz", manifest.sha256(), manifest.vocabulary.labels, len(manifest))


def test_cascade_with_labels_generations_and_an_external_teacher(
    oracle: Path, small_manifest: Path, tmp_path: Path
) -> None:
    stages = ["--first", "labels=0.5,oracle=0.5", "--stage", "labels=0.2,0=0.3,oracle=0.5"]
    start_run(small_manifest, tmp_path / "run", "--teacher", f"oracle={oracle}", *stages, "--epochs", "1")
    oracle.unlink()  # the run has a copy
    run = Run.open(tmp_path / "run")
    assert run.supervision == [{LABELS: 0.5, "oracle": 0.5}, {LABELS: 0.2, 0: 0.3, "oracle": 0.5}]
    labels = run.manifest.targets(run.manifest.indices("train"))
    scores = read_teachers(run, run.supervision[0], torch.device("cpu")).scores["oracle"]
    np.testing.assert_allclose(scores, 0.1 + 0.8 * labels, atol=1e-3)
    continue_run(tmp_path / "run")
    assert len(metrics(tmp_path / "run", 1)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "labels=0.5,oracle=0.5"], "nor the name of a --teacher"),
        (["--teacher", "oracle"], "is not NAME=FILE"),
        (["--teacher", "labels=x.npz"], "a name of its own"),
        (["--teacher", "oracle=nowhere.npz", "--first", "labels=0.5,oracle=0.5"], "nowhere.npz: a teacher's scores"),
        (["--first", "labels=0.5,0=0.5"], "Teacher-0 has no teacher before it"),
    ],
)
def test_unusable_external_teachers_are_one_line_errors(
    arguments: list[str], message: str, small_manifest: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from training.secost import main as secost

    options = ["--manifest", str(small_manifest), "--run", str(tmp_path / "run"), *SMALL, *arguments]
    result = CliRunner().invoke(secost, options)
    assert result.exit_code != 0
    assert message in result.output + capfd.readouterr().err
    assert "Traceback" not in result.output


def test_scores_of_a_sedkit_model_as_teacher(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    path = tmp_path / "earlier.npz"
    arguments = ["sedkit", "--model", run / "model.onnx", "--manifest", small_manifest, "--output", path]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "36 clips, 3 classes" in result.output
    options = ("--stages", "0", "--teacher", f"earlier={path}", "--first", "labels=0.3,earlier=0.7")
    start_run(small_manifest, tmp_path / "taught", *options)
    continue_run(tmp_path / "taught")
    start_run(small_manifest, tmp_path / "alone", "--stages", "0")
    continue_run(tmp_path / "alone")
    assert metrics(tmp_path / "taught", 0) != metrics(tmp_path / "alone", 0)


def test_cross_fitted_scores_do_not_know_held_out_labels() -> None:
    """With more random features than clips, a regression knows the label of every clip that it was fitted on."""
    random = np.random.default_rng(0)
    targets = np.eye(2, dtype=np.float32)[random.integers(0, 2, 120)]
    split = np.where(np.arange(120) < 100, "train", "test")
    rows = [
        Row(f"{clip}.wav", labels="ab"[targets[clip].argmax()], split=split[clip], group=str(clip // 2))
        for clip in range(120)
    ]
    manifest = Manifest.from_rows(rows, Vocabulary.of("ab"), Path())
    scores = cross_fitted_scores(random.standard_normal((120, 300)), SimpleNamespace(manifest=manifest))
    right = (scores[:100].argmax(1) == targets[:100].argmax(1)).mean()
    assert 0.3 < right < 0.7
    informative = random.standard_normal((120, 300)) + 3 * targets[:, :1]
    scores = cross_fitted_scores(informative, SimpleNamespace(manifest=manifest))
    assert (scores.argmax(1) == targets.argmax(1)).mean() > 0.95


def test_files_that_are_no_score_files_are_named(small_manifest: Path, tmp_path: Path) -> None:
    manifest, path = Manifest.load(small_manifest), tmp_path / "mine.npz"
    scores = np.zeros((len(manifest), 3), np.float32)
    for about in ("[]", "3"):
        np.savez(path, logits=scores, about=np.array(about))
        with pytest.raises(TeacherError, match=r"mine\.npz: a teacher's scores cannot be read"):
            read_predictions(path, manifest.sha256(), manifest.vocabulary.labels, len(manifest))
    with path.open("wb") as file:
        np.save(file, scores)
    with pytest.raises(TeacherError, match=r"mine\.npz: a teacher's scores cannot be read"):
        read_predictions(path, manifest.sha256(), manifest.vocabulary.labels, len(manifest))
