"""Calibration and thresholds: Platt scaling with few clips per class, reliability, and the rewritten files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from sedkit.contract import Contract, metadata_of
from sedkit.geometry import SAMPLE_RATE, segment_count
from sedkit.judging.psds_and_f1 import f1_scores
from sedkit.model_file import with_digest
from sedkit.tagger import Tagger
from tests.training.conftest import full_disk
from training.data.manifest.table import Manifest
from training.data.store.source import open_audio
from training.evaluate.metrics import reliability
from training.release import calibrate, platt_scaling
from training.release.quantize import quantize
from training.runs.reports import best_threshold
from training.runtime.files import sha256

CLASSES = 6
OWN = np.array([-1.5, -0.5, 0.0, 0.0, 0.5, 1.5])


def scored(clips: int, own: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets whose probabilities are sigmoid(2 * logit(score) + 1 + own)."""
    random = np.random.default_rng(seed)
    odds = random.normal(-1, 1.5, (clips, CLASSES))
    right = random.random(odds.shape) < 1 / (1 + np.exp(-(2 * odds + 1 + own)))
    return 1 / (1 + np.exp(-odds)), right.astype(np.float32)


def test_platt_scaling_is_recovered():
    found = platt_scaling.fit(*scored(20_000, OWN)).calibration
    np.testing.assert_allclose(found.slope, 2, atol=0.1)
    np.testing.assert_allclose(found.offset, 1 + OWN, atol=0.15)


def test_class_deviations_grow_with_the_prior():
    scores, targets = scored(60, OWN)
    spread = [np.ptp(platt_scaling.fit_with(width, scores, targets).calibration.offset) for width in (1e-3, 0.5, 5.0)]
    assert spread[0] < 0.01 < spread[1] < spread[2]


def test_the_prior_follows_the_spread_of_the_classes():
    assert platt_scaling.fit(*scored(2000, np.zeros(CLASSES))).deviation <= 0.1
    scores, targets = scored(2000, 2 * OWN)
    found = platt_scaling.fit(scores, targets)
    assert found.deviation >= 1.2
    assert reliability.calibration_error(found.calibration(scores), targets) < 0.02


def test_a_class_without_positives_scores_lower_but_not_infinitely():
    scores, targets = scored(100, np.zeros(CLASSES))
    targets[:, 2] = 0
    offsets = platt_scaling.fit(scores, targets).calibration.offset
    assert offsets.argmin() == 2
    assert offsets[2] > offsets.max() - 15


def test_a_few_correct_clips_do_not_give_certainty():
    targets = np.eye(CLASSES, dtype=np.float32)
    found = platt_scaling.fit(0.2 + 0.6 * targets, targets).calibration
    assert 1 < found.slope[0] < 10
    assert found(np.full(CLASSES, 0.8)).max() < 0.999
    wrong = platt_scaling.fit(0.8 - 0.6 * targets, targets).calibration  # all wrong: the slope stays positive
    assert 0 < wrong.slope[0] < 1


def test_weight_counts_clips():
    scores, targets = scored(200, OWN)
    twice = platt_scaling.fit_with(0.5, np.tile(scores, (2, 1)), np.tile(targets, (2, 1)), weight=0.5).calibration
    np.testing.assert_allclose(twice.offset, platt_scaling.fit_with(0.5, scores, targets).calibration.offset, atol=1e-5)


def test_silence_is_ignored():
    scores, targets = scored(500, OWN)
    quiet = np.concatenate([scores, np.zeros_like(scores)]), np.concatenate([targets, np.ones_like(targets)])
    made, expected = platt_scaling.fit(*quiet).calibration, platt_scaling.fit(scores, targets).calibration
    np.testing.assert_allclose(made.offset, expected.offset, atol=1e-5)


def test_the_best_threshold_of_calibrated_scores_has_the_highest_f1():
    scores, targets = scored(20_000, OWN)
    probabilities = platt_scaling.fit(scores, targets).calibration(scores)
    chosen = platt_scaling.best_threshold(probabilities)
    best = max(f1_scores(probabilities >= threshold, targets)[0] for threshold in platt_scaling.GRID)
    assert f1_scores(probabilities >= chosen, targets)[0] == pytest.approx(best, abs=0.002)
    certain = targets.astype(float) * 0.98 + 0.005
    assert f1_scores(certain >= platt_scaling.best_threshold(certain), targets) == (1, 1)


def test_raw_thresholds_invert_the_calibration():
    calibration = platt_scaling.fit(*scored(2000, OWN)).calibration
    thresholds = platt_scaling.raw_thresholds(calibration, 0.4)
    np.testing.assert_allclose(calibration(thresholds), 0.4, atol=1e-9)
    assert len(set(thresholds)) == CLASSES
    assert platt_scaling.raw_thresholds(replace(calibration, offset=np.full(CLASSES, -50.0)), 0.4).max() == 0.95


def test_micro_and_macro_f1():
    scores = np.array([[0.9, 0.1, 0.8], [0.6, 0.7, 0.2], [0.2, 0.4, 0.9]])
    targets = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    micro, macro = f1_scores(scores >= np.array([0.5, 0.3, 0.95]), targets)
    assert micro == pytest.approx(2 * 3 / (4 + 4))  # of 4 calls 3 are right, of 4 positives 3 are found
    assert macro == pytest.approx((2 * 1 / (2 + 2) + 2 * 2 / (2 + 2)) / 2)


def test_reliability_and_calibration_error():
    scores = np.array([[0.95, 0.01], [0.91, 0.02], [0.32, 0.06], [0.04, 0.03]])
    targets = np.array([[1, 0], [0, 0], [1, 0], [0, 1]])
    bins = reliability.reliability(scores, targets)
    assert [(bin.low, bin.tags, bin.right) for bin in bins] == [(0.0, 1, 0.0), (0.3, 1, 1.0), (0.9, 2, 0.5)]
    error = (0.06 + 0.68 + 2 * 0.43) / 4
    assert reliability.calibration_error(scores, targets) == pytest.approx(error)
    highest = (0.04 + 0.68 + 2 * 0.43) / 4
    assert reliability.highest_calibration_error(scores, targets) == pytest.approx(highest)
    assert np.isnan(reliability.calibration_error(scores * 0, targets))


@pytest.fixture
def model(run: Path, tmp_path: Path) -> Path:
    return shutil.copy(run / "model.onnx", tmp_path / "model.onnx")


def command(*arguments: object) -> str:
    given = [str(argument) for argument in (*arguments, "--soundscapes", 6)]
    result = CliRunner().invoke(calibrate.main, given)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_is_calibrated_in_place(model: Path, small_manifest: Path) -> None:
    before, weights = Contract.from_metadata(metadata_of(model)), onnx.load(model).graph
    output = command(model, "--manifest", small_manifest)
    assert "micro f1 of timelines" in output
    after = Contract.from_metadata(metadata_of(model))
    assert onnx.load(model).graph == weights
    assert (after.name, after.labels, after.license) == (before.name, before.labels, before.license)
    assert after.calibration["kind"] == "platt"
    assert after.tag_segments == segment_count(2 * SAMPLE_RATE)
    assert after.lineage["seed"] == before.lineage["seed"]
    about = after.lineage["calibrated_on"]
    assert (about["clips"], about["soundscapes"], about["test"]["clips"]) == (6, 6, 6)
    assert (about["at_most"], about["seed"], about["unknown"]) == (calibrate.CLIPS, 0, None)
    assert len(about["test"]["reliability"][0]) == 5
    sound = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    assert len({tag.score for tag in Tagger(model, "cpu").tag(sound, 16_000).tags}) > 1
    content = model.read_bytes()
    command(model, "--manifest", small_manifest)
    assert model.read_bytes() == content  # calibrating again changes nothing


@pytest.mark.slow
def test_the_int8_version_is_calibrated_on_its_own_scores(model: Path, small_manifest: Path) -> None:
    int8 = model.with_name("model-int8.onnx")
    quantize(model, open_audio(small_manifest), int8, clips=8, seed=0)
    uncalibrated = model.read_bytes()
    command(model, "--manifest", small_manifest)
    fp32, integers = (Contract.from_metadata(metadata_of(path)) for path in (model, int8))
    assert integers.precision == "int8"
    assert integers.calibration["kind"] == fp32.calibration["kind"] == "platt"
    assert integers.calibration != fp32.calibration
    assert integers.lineage["calibrated_on"]["test"] != fp32.lineage["calibrated_on"]["test"]
    np.testing.assert_allclose(integers.calibration["slope"], fp32.calibration["slope"], rtol=0.2)
    assert integers.lineage["quantisation"]["of_sha256"] == sha256(model)
    calibrated = int8.read_bytes()
    model.write_bytes(uncalibrated)  # as after a kill between the replacements of the two files
    command(model, "--manifest", small_manifest)
    assert int8.read_bytes() == calibrated
    integers_of_another = int8.read_bytes()
    quantize(model, open_audio(small_manifest), int8, clips=8, seed=0)
    again = Contract.from_metadata(metadata_of(int8))
    assert (again.calibration, again.thresholds) == (fp32.calibration, fp32.thresholds)  # until it is calibrated
    other = onnx.load(model)
    other.doc_string = "another"
    model.write_bytes(with_digest(other.SerializeToString()))
    int8.write_bytes(integers_of_another)
    assert "the int8 version of another model" in fails(model, small_manifest)


@pytest.mark.slow
def test_neither_file_changes_on_a_full_disk(model: Path, small_manifest: Path) -> None:
    int8 = model.with_name("model-int8.onnx")
    quantize(model, open_audio(small_manifest), int8, clips=8, seed=0)
    before = int8.read_bytes()
    with full_disk(len(before) + 4096):  # the int8 file fits, the other does not
        assert "cannot be written" in fails(model, small_manifest)
    assert int8.read_bytes() == before


def test_unknown_labels_do_not_count() -> None:
    scores, targets = scored(300, OWN)
    hidden = np.where(np.random.default_rng(1).random(targets.shape) < 0.3, np.nan, targets).astype(np.float32)
    left_out = np.where(np.isnan(hidden), 0.0, scores)  # a score of 0 is ignored, too
    found, expected = platt_scaling.fit(scores, hidden), platt_scaling.fit(left_out, targets)
    np.testing.assert_allclose(found.calibration.offset, expected.calibration.offset, atol=1e-6)
    known = ~np.isnan(hidden)
    assert best_threshold(hidden, scores.astype(np.float32)) == pytest.approx(
        best_threshold(targets[known][:, None], scores[known][:, None].astype(np.float32))
    )
    column = scores[:, :1], hidden[:, :1]
    rows = ~np.isnan(column[1][:, 0])
    for error in (reliability.calibration_error, reliability.highest_calibration_error):
        assert error(*column) == pytest.approx(error(column[0][rows], column[1][rows]))


def fails(model: Path, manifest: Path) -> str:
    before = model.read_bytes()
    result = CliRunner().invoke(calibrate.main, [str(model), "--manifest", str(manifest)])
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1
    assert model.read_bytes() == before
    return result.output


def test_clips_without_a_class_weigh_as_much_as_is_asked() -> None:
    """Scores are lower where more recordings hold none of the classes; without such clips, that is refused."""
    scores, targets = scored(2000, OWN)
    tags = calibrate.ScoredClips(scores.astype(np.float64), targets, 1.0)
    weighted = calibrate.with_unknown(tags, 0.6)
    none = ~(targets > 0).any(1)
    weight = np.asarray(weighted.weight)
    assert weight.mean() == pytest.approx(1)
    assert weight[none].sum() == pytest.approx(0.6 * len(scores))
    lower, higher = (platt_scaling.fit(*calibrate.with_unknown(tags, share)).calibration for share in (0.6, 0.05))
    assert (lower(scores) < higher(scores)).mean() > 0.95
    with pytest.raises(calibrate.CalibrateError, match="clips without one"):
        calibrate.with_unknown(tags._replace(targets=np.ones_like(targets)), 0.5)


def test_timelines_are_calibrated_for_unknown_sounds_too(model: Path, small_manifest: Path) -> None:
    rows = Manifest.load(small_manifest)
    none = {row for split in ("validation", "test") for row in rows.indices(split)[::3].tolist()}
    some = [row._replace(labels="-") if number in none else row for number, row in enumerate(rows.rows())]
    manifest = model.parent / "manifest.csv"
    Manifest.from_rows(some, rows.vocabulary, small_manifest.parent).save(manifest)
    thresholds = []
    for share in (0.05, 0.9):
        assert "test unknown sounds with events: " in command(model, "--manifest", manifest, "--unknown", share)
        thresholds.append(Contract.from_metadata(metadata_of(model)).timeline_thresholds)
    assert np.mean(thresholds[1]) > np.mean(thresholds[0])


def test_errors_are_one_line(model: Path, model_path: Path, small_manifest: Path) -> None:
    folder = model.parent
    assert "the manifest lacks" in fails(model_path, small_manifest)
    (folder / "broken.onnx").write_bytes(b"nothing")
    assert "broken.onnx: " in fails(folder / "broken.onnx", small_manifest)
    Manifest.load(small_manifest).select("train").save(folder / "train.csv")
    assert "no clips in the split 'validation'" in fails(model, folder / "train.csv")
    quantize(model, open_audio(small_manifest), folder / "model-int8.onnx", clips=8, seed=0)
    assert "calibrate the fp32 one" in fails(folder / "model-int8.onnx", small_manifest)
