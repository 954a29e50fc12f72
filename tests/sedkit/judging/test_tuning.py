"""The search for settings, on segment scores with a known flaw, and its honest figure."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sed_eval", reason="settings are judged with the extra 'evaluation'")

from sedkit.contract import Label
from sedkit.judging.analysis import Analysed, detections_at_levels, events_of
from sedkit.judging.tuning import (
    Labelled,
    Search,
    cross_validated,
    event_hits,
    folds,
    gain,
    judged,
    segment_hits,
    toml_over,
)
from sedkit.timeline.settings import PostProcessing

LABELS = (Label("Dog"), Label("Siren"))
THRESHOLDS = np.array([0.5, 0.5])
SEGMENTS = 60


def recording(seed: int) -> Labelled:
    """Dogs that score 0.3, with false alarms at 0.15; sirens that score 0.9 with gaps of 0.64 s."""
    random = np.random.default_rng(seed)
    scores = np.full((SEGMENTS, 2), 0.001, np.float32)
    truth = []
    for column, score in enumerate((0.3, 0.9)):
        start, length = int(random.integers(5, 25)), int(random.integers(6, 12))
        scores[start : start + length, column] = score
        truth.append((0.32 * start + 0.32, 0.32 * (start + length) + 0.32, column))
    scores[45:49, 0] = 0.15
    first = round((truth[1][0] - 0.32) / 0.32)
    scores[first + 3 : first + 5, 1] = 0
    changes = np.zeros((SEGMENTS + 1, 2), np.int64)
    return Labelled(f"{seed}.wav", Analysed(scores, changes, 0.32 * SEGMENTS + 0.64, np.zeros(2)), truth)


@pytest.fixture(scope="module")
def search() -> Search:
    return Search([recording(seed) for seed in range(6)], LABELS, THRESHOLDS, "event-f1")


def test_the_search_mends_what_the_scores_show(search):
    settings = search.best(np.ones(6, bool))
    assert settings.merge_gap >= 0.6
    assert 0.15 < settings.classes["Dog"]["threshold"] <= 0.3
    before = judged(search.recordings, [PostProcessing()] * 6, LABELS, THRESHOLDS)
    after = judged(search.recordings, [settings] * 6, LABELS, THRESHOLDS)
    assert before["event-f1"][0] < 0.1
    assert after["event-f1"][0] == 1
    report = gain(before, after, [each.name for each in search.recordings], 100)
    assert report["event-f1"]["gain"]["value"] == after["event-f1"][0] - before["event-f1"][0]
    assert report["event-f1"]["gain"]["interval"][0] > 0


def test_each_recording_is_judged_with_settings_chosen_without_it(search):
    """A recording that contradicts all others cannot influence the settings that judge it."""
    odd = recording(9)
    swapped = Labelled("odd.wav", odd.analysed, [(14.72, 16.0, 0)])  # the false alarm is the event
    others = [recording(seed) for seed in range(5)]
    with_odd = Search([*others, swapped], LABELS, THRESHOLDS, "event-f1")
    chosen = cross_validated(with_odd, 6)
    assert chosen[5] == search_of(others).best(np.ones(5, bool))
    assert len(chosen) == 6


def search_of(recordings) -> Search:
    return Search(recordings, LABELS, THRESHOLDS, "event-f1")


def test_folds_are_equal_and_reproducible():
    found = folds(23, 5)
    assert sorted(np.bincount(found)) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(found, folds(23, 5))


def test_classes_with_few_events_keep_the_models_threshold():
    recordings = [recording(seed) for seed in range(2)]
    settings = search_of(recordings).best(np.ones(2, bool))
    assert settings.classes == {}


def test_hits_are_those_of_the_libraries(search):
    """The quick counts of the search equal sed_eval's."""
    settings = PostProcessing(threshold=0.2)
    columns = settings.columns(LABELS, THRESHOLDS)
    found = judged(search.recordings, [settings] * 6, LABELS, THRESHOLDS)
    for metric, count in (("event-f1", event_hits), ("segment-f1", segment_hits)):
        for row, each in zip(found[metric][1], search.recordings, strict=True):
            events = events_of(each.analysed, columns)
            for column in range(2):
                sides = [[(a, b) for a, b, c in side if c == column] for side in (each.truth, events)]
                assert tuple(row[column]) == count(*sides)


def test_scores_at_levels_are_the_events_at_each_threshold():
    random = np.random.default_rng(0)
    scores = (
        np.convolve(random.random(200) ** 8, [0.2, 0.8, 1, 0.8, 0.2], "same")[:, None].clip(0, 1).astype(np.float32)
    )
    analysed = Analysed(scores, np.zeros((201, 2), np.int64), 64.6, np.zeros(1))
    settings = PostProcessing(merge_gap=0.5).columns([Label("Dog")], [0.5])
    found = detections_at_levels(analysed, settings, np.zeros(1, bool))
    assert (found.edges[0], found.edges[-1]) == (0, 64.6)
    middles = (found.edges[:-1] + found.edges[1:]) / 2
    for threshold in (0.1, 0.3, 0.8):
        at = PostProcessing(merge_gap=0.5, threshold=threshold).columns([Label("Dog")], [0.5])
        inside = np.zeros(len(middles), bool)
        for onset, offset, _ in events_of(analysed, at):
            inside |= (onset < middles) & (middles < offset)
        np.testing.assert_array_equal(inside, found.scores[:, 0] >= np.float32(threshold) - 1e-6)
    assert found.events == events_of(analysed, settings)


def test_settings_return_to_the_default_where_the_model_has_another(tmp_path):
    base, tuned = PostProcessing(merge_gap=2.0, median=1.6), PostProcessing(median=1.6).for_class("Dog", threshold=0.2)
    (tmp_path / "x.toml").write_text(toml_over(tuned, base))
    assert PostProcessing.read_toml(tmp_path / "x.toml", base) == tuned
