"""PSDS and F1 against values worked out by hand, and the command on soundscapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sed_scores_eval", reason="timelines are measured with the extra 'evaluation'")

from sedkit.judging.psds_and_f1 import Detections, EvaluationError, spans, timeline_metrics
from training.data.commands import main as data
from training.evaluate.commands import main as evaluate
from training.runtime.files import sha256

FIGURES = {"mAP", "mAUC", "segment_f1", "event_f1", "best_segment_f1", "best_event_f1"}
FIGURES |= {"PSDS1", "PSDS2", "PSDS1_mean", "PSDS2_mean"}
EDGES = np.arange(0, 10.5, 0.5)


def detected(*events: tuple[float, float, int], classes: int = 2, score: float = 0.9) -> Detections:
    """Detections with high scores for these events, in a recording of 10 s with steps of 0.5 s."""
    scores = np.full((20, classes), 0.1, np.float32)
    for onset, offset, place in events:
        scores[int(2 * onset) : int(2 * offset), place] = score
    return Detections(EDGES, scores, list(events), scores.mean(0), scores.mean(0) >= 0.5)


def test_perfect_detections() -> None:
    truth = [[(1.0, 3.0, 0), (2.0, 6.0, 1)], [(0.0, 10.0, 0)]]
    found = timeline_metrics([detected(*truth[0]), detected(*truth[1])], truth)
    assert set(found) == FIGURES - {"mAP", "mAUC"}
    assert found == pytest.approx(dict.fromkeys(found, 1.0))


DETECTED = (9.0, 10.0, 1)  # an event of another class that is always detected; it counts 1 in every mean


def test_late_detections() -> None:
    """An event of 4 s detected 1 s late: 3 of 4 segments, no event, three quarters of its length."""
    found = timeline_metrics([detected((3.0, 6.0, 0), DETECTED)], [[(2.0, 6.0, 0), DETECTED]])
    assert found["segment_f1"] == pytest.approx((2 * 3 / (2 * 3 + 0 + 1) + 1) / 2)
    assert found["event_f1"] == found["best_event_f1"] == pytest.approx((0 + 1) / 2)
    assert found["PSDS1"] == found["PSDS2"] == pytest.approx(1)


def test_psds1_needs_more_of_an_event_than_psds2() -> None:
    """5/8 of an event: less than 0.7 of it, more than 0.1. The mean over classes is 1/2, their deviation 1/2."""
    found = timeline_metrics([detected((3.5, 6.0, 0), DETECTED)], [[(2.0, 6.0, 0), DETECTED]])
    assert found["PSDS1"] == pytest.approx(0)
    assert found["PSDS1_mean"] == pytest.approx(1 / 2)
    assert found["PSDS2"] == pytest.approx(1)


def test_an_offset_may_be_off_by_half_the_event() -> None:
    truth = [[(2.0, 6.0, 0), DETECTED]]
    assert timeline_metrics([detected((2.0, 4.0, 0), DETECTED)], truth)["event_f1"] == 1
    assert timeline_metrics([detected((2.0, 3.5, 0), DETECTED)], truth)["event_f1"] == pytest.approx((0 + 1) / 2)


def test_false_alarms_and_undetected_classes() -> None:
    """Class 0: one of two events, and one false alarm, each 1 s. Class 1: not detected. Class 2: no events."""
    truth = [[(1.0, 2.0, 0), (4.0, 5.0, 0), (7.0, 8.0, 1)]]
    found = timeline_metrics([detected((1.0, 2.0, 0), (8.0, 9.0, 0), (3.0, 9.0, 2), classes=3)], truth)
    assert found["segment_f1"] == pytest.approx((2 * 1 / (2 * 1 + 1 + 1) + 0) / 2)
    assert found["event_f1"] == pytest.approx((2 * 1 / (2 * 1 + 1 + 1) + 0) / 2)


def test_the_best_threshold_finds_events_below_the_systems_own() -> None:
    faint = detected((1.0, 2.0, 0), DETECTED, score=0.3)
    found = timeline_metrics(
        [Detections(EDGES, faint.scores, [], faint.tags, faint.present)], [[(1.0, 2.0, 0), DETECTED]]
    )
    assert found["segment_f1"] == found["event_f1"] == 0
    assert found["best_segment_f1"] == found["best_event_f1"] == found["PSDS1"] == pytest.approx(1)


def test_recordings_without_events() -> None:
    found = timeline_metrics(
        [detected((1.0, 2.0, 0), DETECTED), detected((4.0, 5.0, 0))], [[(1.0, 2.0, 0), DETECTED], []]
    )
    assert found["event_f1"] == pytest.approx((2 / (2 + 1) + 1) / 2)
    with pytest.raises(EvaluationError, match="fewer than two classes"):
        timeline_metrics([detected()], [[(1.0, 2.0, 0)]])


def test_spans() -> None:
    scores = np.array([[0.3, 0.9], [0.6, 0.02], [0.02, 0.9]], np.float32)
    assert spans(np.array([0, 1.0, 2.0, 2.5]), scores, 0.5) == [(1.0, 2.0, 0), (0.0, 1.0, 1), (2.0, 2.5, 1)]


@pytest.fixture(scope="module")
def soundscapes(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soundscapes") / "set"
    arguments = ["soundscapes", small_manifest, "--output", folder, "--count", 18, "--seconds", 4, "--longest", 2]
    result = CliRunner().invoke(data, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return folder


def test_a_model_on_soundscapes(run: Path, soundscapes: Path, tmp_path: Path) -> None:
    model, copy = str(run / "model.onnx"), str(tmp_path / "copy.onnx")
    shutil.copy(model, copy)
    written = tmp_path / "timelines.json"
    result = CliRunner().invoke(evaluate, ["timelines", model, copy, str(soundscapes), "--json", str(written)])
    assert result.exit_code == 0, result.output
    report = json.loads(written.read_text("utf-8"))
    assert report["recordings"] == 3
    assert report["recipe"]["count"] == 18
    assert report["seconds"] == pytest.approx(12)
    first, second = report["systems"]
    assert (first.pop("system"), second.pop("system")) == (model, copy)
    assert first == second
    assert f"| {model} | {first['mAP']:.3f} |" in result.stdout
    assert first.pop("model_sha256") == sha256(run / "model.onnx")
    assert first.keys() == FIGURES | {"tag_f1"}
    assert all(0 <= first[figure] <= 1 for figure in FIGURES)
    assert first["best_segment_f1"] > 0.3
    result = CliRunner().invoke(evaluate, ["timelines", model, str(soundscapes), "--split", "train"])
    assert "12 recordings of the split train" in result.stdout
    assert f"| {model} |" in result.stdout


def test_settings_in_files_of_one_name_are_told_apart(run: Path, soundscapes: Path, tmp_path: Path) -> None:
    model, written = str(run / "model.onnx"), tmp_path / "timelines.json"
    files = [tmp_path / name for name in ("low/mine.toml", "high/mine.toml", "other.toml")]
    for file, threshold in zip(files, (0.0001, 0.9999, 0.5), strict=True):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"threshold = {threshold}\n")
    given = [argument for file in files for argument in ("--postprocess", str(file))]
    result = CliRunner().invoke(evaluate, ["timelines", model, str(soundscapes), *given, "--json", str(written)])
    assert result.exit_code == 0, result.output
    systems = json.loads(written.read_text("utf-8"))["systems"]
    named = [*map(str, files[:2]), "other.toml"]
    assert [row["system"] for row in systems] == [model, *(f"{model}, {name}" for name in named)]
    low, high = systems[1:3]
    assert low["segment_f1"] > 0 == high["segment_f1"]
    assert low["model_sha256"] == high["model_sha256"]


def test_errors_are_one_line(run: Path, soundscapes: Path, tmp_path: Path, small_manifest: Path) -> None:
    model = str(run / "model.onnx")
    broken = shutil.copytree(soundscapes, tmp_path / "broken")
    (broken / "recipe.json").write_text("{")
    settings = tmp_path / "settings.toml"
    settings.write_text("[classes.Tune]\nthreshold = 0.5\n")
    for arguments, message in (
        ([model, str(broken)], "recipe.json: cannot be read"),
        ([model, str(tmp_path)], "manifest.csv: no such manifest"),
        (["no-such-model", str(soundscapes)], "no-such-model"),
        (["wels-secost", str(soundscapes)], "lacks 3 of the classes of the soundscapes (clicks, noise, tone)"),
        ([model, str(small_manifest.parent)], "test.tsv: cannot be read"),
        ([model, str(soundscapes), "--postprocess", str(settings)], "has no such class; did you mean tone?"),
    ):
        result = CliRunner().invoke(evaluate, ["timelines", *arguments])
        assert result.exit_code == 1
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
