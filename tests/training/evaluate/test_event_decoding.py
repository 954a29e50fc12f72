"""Event decoding at many thresholds: targets of tiles, tiles in events, and the search for thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from sedkit.timeline.events import HysteresisDetector
from sedkit.timeline.settings import ColumnSettings
from training.evaluate.metrics.event_decoding import event_scores, in_events, tile_targets


def test_a_class_is_present_in_a_tile_if_it_sounds_for_half_of_it():
    maybe = tile_targets([(0.0, 0.7, 0)], 13, 5.0, 2, unchecked=[(0.0, 1.0, 0), (4.0, 5.0, 1)])
    assert maybe[0].tolist() == [1, 0]
    assert np.isnan(maybe[2, 0])
    assert np.isnan(maybe[-1, 1])
    assert np.isnan(maybe).sum() < 8
    found = tile_targets([(0.0, 0.7, 0), (1.0, 1.1, 1), (2.9, 5.0, 2)], 13, 5.0, 3)
    assert np.flatnonzero(found[:, 0]).tolist() == [0]  # 0 to 0.64 s; the event covers a fifth of the next tile
    assert np.flatnonzero(found[:, 1]).tolist() == [2]  # 0.96 to 1.28 s
    assert np.flatnonzero(found[:, 2]).tolist() == list(range(8, 13))  # from 2.88 s on, to the end


@pytest.mark.parametrize("segments", [1, 2, 3, 4, 28])
def test_tiles_in_events_match_the_timeline(segments: int):
    scores = np.random.default_rng(0).random((100, segments, 3)) ** 5
    scores[scores > 0.8] = 0.8  # several that are the highest
    thresholds = np.array([0.2, 0.5, 0.8])
    middles, duration = 0.32 * np.arange(segments) + 0.48, 0.32 * segments + 0.6
    expected = np.zeros(scores.shape, bool)
    for recording, rows in enumerate(scores):
        runs = HysteresisDetector(ColumnSettings.uniform(thresholds))
        for run in runs.add(rows, np.zeros((segments, 2), np.int64)) + runs.finish(duration, 0):
            expected[recording, (run.onset < middles) & (middles < run.offset), run.column] = True
    np.testing.assert_array_equal(in_events(scores, thresholds), expected)
    lone = (
        scores >= thresholds
    )  # some tiles are in events without reaching the threshold, and some reach it that are not
    assert segments == 1 or ((expected & ~lone).any() and (segments < 3 or (lone & ~expected).any()))


def test_event_scores_at_a_threshold_are_the_events_at_that_threshold():
    random = np.random.default_rng(0)
    scores = np.convolve(random.random(200) ** 8, [0.2, 0.8, 1, 0.8, 0.2], "same")[:, None].clip(0, 1)
    edges, seconds = random.integers(-16, 17, (201, 2)), 64.55
    edges[0], edges[-1] = 20, -20
    moments, made = event_scores(scores, edges, seconds)
    assert (moments[0], moments[-1], len(moments)) == (0, seconds, len(made) + 1)
    middles, lengths = (moments[:-1] + moments[1:]) / 2, np.diff(moments)
    for threshold in (0.1, 0.3, 0.8):
        runs = HysteresisDetector(ColumnSettings.uniform([threshold]))
        inside = np.zeros(len(middles), bool)
        for run in runs.add(scores, edges[:-1]) + runs.finish(seconds, edges[-1, 1]):
            inside |= (run.onset < middles) & (middles < run.offset)
        assert not (inside & (made[:, 0] < threshold - 0.011)).any()
        assert lengths @ (inside != (made[:, 0] >= threshold)) < 0.05 * seconds
    assert event_scores(np.zeros((3, 2)), np.zeros((4, 2), np.int64), 1.6)[1].max() == 0
