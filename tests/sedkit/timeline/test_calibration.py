"""Calibration of tag scores, and the thresholds of tags and timelines."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import soundfile
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sedkit.cli import main
from sedkit.tagger import Tagger
from sedkit.timeline.calibration import Calibration
from tests.conftest import LABELS, THRESHOLDS, make_sound

PLATT = {"kind": "platt", "slope": [1.5, 1.0, 2.0, 0.5, 1.2], "offset": [1.0, -3.0, 0.0, 0.5, 2.0]}
TIMELINE = (0.45, 0.35, 0.55, 0.25, 0.4)
NUMBERS = st.floats(0, 1)


@pytest.fixture(scope="module")
def calibrated(model_path, description, tmp_path_factory):
    """The test model with calibration and timeline thresholds."""
    model = onnx.load(model_path)
    written = replace(description, calibration=PLATT, timeline_thresholds=TIMELINE)
    onnx.helper.set_model_props(model, written.to_metadata())
    path = tmp_path_factory.mktemp("calibrated") / "calibrated.onnx"
    onnx.save(model, path)
    return Tagger(path, "cpu", threads=1)


@given(st.lists(NUMBERS, min_size=1), st.floats(0.01, 100), st.floats(-100, 100))
def test_calibration_keeps_order_and_0_and_1(scores, slope, offset):
    made = Calibration(np.array([slope]), np.array([offset]))(np.sort([0, *scores, 1])[:, None])[:, 0]
    assert (made[0], made[-1]) == (0, 1)
    assert (np.diff(made) >= -1e-15).all()


def test_calibration_is_platt_scaling():
    scores = np.array([[0.1, 0.5, 0.9]])
    made = Calibration(np.array([2.0, 1.0, 0.5]), np.array([1.0, -1.0, 0.0]))(scores)
    odds = np.log(scores / (1 - scores))
    np.testing.assert_allclose(made, 1 / (1 + np.exp(-(np.array([2, 1, 0.5]) * odds + [1, -1, 0]))))


def test_tags_are_calibrated_and_timelines_are_not(tagger, calibrated):
    sound = make_sound(6)
    raw, tags = ({tag.label: tag.score for tag in model.tag(sound, 16_000).tags} for model in (tagger, calibrated))
    for label, slope, offset in zip(LABELS, PLATT["slope"], PLATT["offset"], strict=True):
        odds = slope * np.log(raw[label.name] / (1 - raw[label.name])) + offset
        assert tags[label.name] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
    before, after = (model.timeline(sound, 16_000, threshold=0.4) for model in (tagger, calibrated))
    np.testing.assert_array_equal(after.scores, before.scores)
    assert after.events == before.events


def test_silent_segments_do_not_change_tags(tagger):
    sound = make_sound(4)
    padded = np.concatenate([np.zeros(16_000 * 6, np.float32), sound, np.zeros(16_000 * 20, np.float32)])
    segments = tagger.timeline(padded, 16_000, resolution="native").scores
    sounding = segments[segments.any(axis=1)]
    assert 0 < len(sounding) < len(segments) / 3
    tags = {tag.label: tag.score for tag in tagger.tag(padded, 16_000).tags}
    np.testing.assert_allclose([tags[label.name] for label in LABELS], sounding.mean(axis=0), atol=1e-6)


def test_silence_scores_exactly_0(calibrated):
    assert {tag.score for tag in calibrated.tag(np.zeros(32_000), 16_000, threshold=0).tags} == {0.0}
    assert calibrated.tag(np.zeros(32_000), 16_000).tags == ()


def test_tags_and_timelines_have_their_own_thresholds(calibrated):
    sound = make_sound(6, seed=1)
    tags = calibrated.tag(sound, 16_000).tags
    own = dict(zip((label.name for label in LABELS), THRESHOLDS, strict=True))
    present = calibrated.tag(sound, 16_000, threshold="model").tags
    assert present == tuple(tag for tag in tags if tag.score >= own[tag.label])
    assert 0 < len(present) < len(tags)
    timeline = calibrated.timeline(sound, 16_000, resolution="native")
    tags_of_cells = [{tag.label for tag in second.tags} for second in timeline.seconds]
    active = timeline.scores >= np.array(TIMELINE)
    assert tags_of_cells == [{LABELS[column].name for column in np.flatnonzero(row)} for row in active]


def test_chosen_classes_keep_their_calibration(calibrated):
    sound = make_sound(6)
    everything = {tag.label: tag for tag in calibrated.tag(sound, 16_000).tags}
    chosen = calibrated.tag(sound, 16_000, classes=["Siren", "Our kettle"]).tags
    assert set(chosen) == {everything["Siren"], everything["Our kettle"]}


def test_invalid_threshold_name(calibrated):
    with pytest.raises(ValueError, match="between 0 and 1, not 'own'"):
        calibrated.tag("missing.wav", threshold="own")


def test_command_line_option_threshold_model(calibrated, tmp_path):
    soundfile.write(tmp_path / "sound.wav", make_sound(6, seed=1), 16_000)
    arguments = ["tag", str(tmp_path / "sound.wav"), "--model", str(calibrated.model.path), "--format", "json"]
    result = CliRunner().invoke(main, [*arguments, "--threshold", "model"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)["tags"]
    present = calibrated.tag(tmp_path / "sound.wav", threshold="model").to_dict()["tags"]
    assert [tag["label"] for tag in found] == [tag["label"] for tag in present]
    assert CliRunner().invoke(main, [*arguments, "--threshold", "own"]).exit_code == 2
    info = CliRunner().invoke(main, ["info", str(calibrated.model.path)])
    assert re.search(r"calibration +platt\n", info.output)
    assert "threshold 0.4, in timelines 0.35" in info.output
