"""Thresholds of timelines, chosen on soundscapes and on recordings with none of the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sedkit.inference.model import Model
from sedkit.judging.psds_and_f1 import f1_scores
from training.data.manifest.table import Manifest
from training.data.store.source import open_audio
from training.evaluate.metrics.event_decoding import in_events
from training.release.timeline_thresholds import (
    ScoredTimelines,
    best_of,
    by_length,
    choose,
    event_f1,
    f1,
    rows_to_fit,
    score_timelines,
    with_false_events,
)


def soundscapes(unknown: int = 0) -> ScoredTimelines:
    """50 soundscapes of two classes, and recordings of other sounds, which resemble the second class."""
    random = np.random.default_rng(0)
    targets = np.zeros((50, 28, 2), np.float32)
    for recording in targets:
        onset = random.integers(0, 20, 2)
        for column, start in enumerate(onset):
            recording[start : start + 8, column] = 1
    detected = targets.copy()  # one segment longer on both sides
    detected[:, 1:] = np.maximum(detected[:, 1:], targets[:, :-1])
    detected[:, :-1] = np.maximum(detected[:, :-1], targets[:, 1:])
    beside = np.where(random.random(targets.shape) < 0.3, 0.3, 0.01)
    scores = np.where(detected > 0, random.choice([0.2, 0.8], targets.shape), beside)
    others = [random.uniform([0.01, 0.3], [0.3, 0.7], (12 + 2 * (n % 2), 2)).astype(np.float32) for n in range(unknown)]
    return ScoredTimelines(scores, targets, 200, by_length(others, np.ones((unknown, 2), bool)))


def test_the_best_candidate_has_the_best_events() -> None:
    timelines = soundscapes()
    candidates = [np.full(2, threshold) for threshold in (0.1, 0.25, 0.5, 0.9)]
    best = best_of(candidates, timelines, 0.0)
    assert best[0] == 0.5
    events = f1_scores(in_events(timelines.scores, best), timelines.targets)
    assert event_f1(best, timelines) == events
    assert f1(best, timelines, 0.0) == pytest.approx(events[0])
    assert events[0] > f1_scores(timelines.scores >= 0.5, timelines.targets)[0]


def test_a_class_that_other_sounds_resemble_gets_a_higher_threshold() -> None:
    timelines = soundscapes(unknown=20)
    without, with_others = choose(soundscapes(), 0.0), choose(timelines, 0.6)
    first, second = with_others.thresholds - without.thresholds
    assert second > max(first, 0) + 0.05
    false = [with_false_events(each.thresholds, timelines.unknown) for each in (without, with_others)]
    assert false[0] > 0.5 > 0.1 > false[1]
    assert event_f1(with_others.thresholds, timelines)[1] > event_f1(without.thresholds, timelines)[1] - 0.05


def test_false_events_count_as_often_as_is_asked() -> None:
    timelines = soundscapes(unknown=20)
    low = np.array([0.5, 0.4])
    assert timelines.share == pytest.approx(20 / 220)
    assert f1(low, timelines, 0.0) == f1(low, timelines._replace(unknown=[]), 0.6)
    assert f1(low, timelines, 0.0) > f1(low, timelines, timelines.share) > f1(low, timelines, 0.6)
    nobody_knows = [each._replace(absent=~each.absent) for each in timelines.unknown]
    assert f1(low, timelines._replace(unknown=nobody_knows), 0.6) == f1(low, timelines, 0.0)
    assert with_false_events(low, nobody_knows) == 0


def test_weights_of_segments() -> None:
    """Segments weigh as much as there are clips; those of unknown sounds have their share of it."""
    timelines = soundscapes(unknown=20)
    scores, targets, weights = rows_to_fit(timelines, 0.6)
    others = 10 * 12 + 10 * 14
    assert len(scores) == len(targets) == len(weights) == 50 * 28 + others
    assert weights.sum() == pytest.approx(220)
    assert weights[-others:].sum() == pytest.approx(0.6 * 220)
    assert not targets[-others:].any()
    np.testing.assert_allclose(rows_to_fit(timelines, timelines.share)[2][0], 200 / (50 * 28))


def test_recordings_are_scored_as_they_are(run: Path, small_manifest: Path, tmp_path: Path) -> None:
    rows = Manifest.load(small_manifest)
    others = set(rows.indices("validation")[::3].tolist())
    some = [row._replace(labels="-") if number in others else row for number, row in enumerate(rows.rows())]
    Manifest.from_rows(some, rows.vocabulary, small_manifest.parent).save(tmp_path / "manifest.csv")
    audio = open_audio(str(tmp_path / "manifest.csv"))
    held_out = audio.manifest.indices("validation")
    scored = score_timelines(Model(run / "model.onnx", threads=1), audio, held_out, 3, 0)
    assert (len(scored.scores), scored.sources, len(scored.unknown)) == (3, 4, 1)  # two clips of equal length
    assert scored.unknown[0].scores.shape == (2, 5, len(scored.scores[0, 0]))
    assert scored.unknown[0].absent.all()
