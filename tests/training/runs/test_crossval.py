"""``sedkit-train crossval``: the command that trains a run for each fold."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.training.conftest import SMALL, copy_cross_validation
from training.runs.experiments.crossval import main as crossval


def run(*arguments: object) -> tuple[int, str]:
    """Run ``sedkit-train crossval``; returns its exit code and standard error."""
    result = CliRunner().invoke(crossval, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.stderr


@pytest.mark.slow
def test_other_folds_or_options_do_not_continue_a_cross_validation(cross_validation: Path) -> None:
    first, second = cross_validation.parent / "a.csv", cross_validation.parent / "b.csv"
    given = ["--run", cross_validation, "--manifest", first, "--manifest", second, "--stages", "1", *SMALL]
    for other in (["--epochs", "4"], ["--manifest", first], ["--set", "ema=0.9"]):
        code, errors = run(*given, *other)
        assert code == 1
        assert "holds a cross-validation with other folds or options; name another --run" in errors


@pytest.mark.slow
def test_finished_folds_are_skipped(cross_validation: Path, tmp_path: Path) -> None:
    """Options of the machine may differ from those of the first command."""
    copy = copy_cross_validation(cross_validation, tmp_path)
    for fold in ("fold-1", "fold-2"):
        (copy / fold / "model.onnx").touch()
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    options = ["--stages", "1", *SMALL, "--set", "workers=1"]
    code, errors = run("--run", copy, "--manifest", first, "--manifest", second, *options)
    assert code == 0
    assert errors.splitlines()[:2] == ["fold 1: finished", "fold 2: finished"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "1"], "name the data with one of --esc50, --shipped and --manifest"),
        (["--manifest", "{one}"], "--manifest: one per fold, at least two"),
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
def test_refused_options_of_a_cross_validation(
    small_manifest: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = [argument.format(one=small_manifest, folder=small_manifest.parent) for argument in arguments]
    code, errors = run("--run", tmp_path / "cv", *given)
    assert code in (1, 2)
    assert message in errors
    assert not (tmp_path / "cv").exists()


def test_each_fold_gets_its_own_manifest_and_options(
    esc50: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """``--launch echo`` prints the command of each training."""
    given = ["--esc50", esc50, "--run", tmp_path / "cv", "--launch", "echo"]
    given += ["--set", "license={fold}", "--preset", "audioset"]
    code, _ = run(*given)
    assert code == 0
    directory = tmp_path / "cv"
    started = f"-m training.secost --directory {directory / 'fold-1'} --manifest {directory / 'fold-1.csv'} "
    assert capfd.readouterr().out == started + "--preset audioset --set license=1\n"
    for fold in "12345":
        (directory / f"fold-{fold}").mkdir()
    (directory / "fold-1" / "model.onnx").touch()
    (directory / "fold-2" / "config.json").touch()
    code, _ = run(*given, "--device", "cpu")
    resumed = f"-m training.secost --resume {directory / 'fold-2'} --manifest {directory / 'fold-2.csv'} --device cpu\n"
    assert capfd.readouterr().out == resumed


def test_manifests_of_another_share_or_data_set_are_not_written(esc50: Path, tmp_path: Path) -> None:
    """They would replace those that finished folds were trained on."""
    given = ["--run", tmp_path / "cv", "--esc50", esc50, "--launch", "echo"]
    assert run(*given)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "cv").glob("fold-*.csv")}
    code, errors = run(*given, "--validation-share", "0.4")
    assert code == 1
    assert "with another --validation-share" in errors
    assert {path: path.read_bytes() for path in (tmp_path / "cv").glob("fold-*.csv")} == before
    assert run(*given)[0] == 0
