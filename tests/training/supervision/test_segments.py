"""Segment-level soft targets from isolated clips, for students on overlaid clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sedkit.contract import Label
from sedkit.geometry import SEGMENT_HOP, SEGMENT_SPAN, segment_count
from training.data.audio import FULL_SCALE
from training.data.augment.augmentation import Augmentation
from training.data.augment.resampling import at_speed
from training.data.augment.soundscapes import Placed
from training.data.clips import Clips
from training.loop.batches import Epoch
from training.loop.settings import Execution, Settings
from training.networks.predict import ScoreError
from training.networks.wels import Network
from training.runtime.deadline import Stopped
from training.supervision.segments import (
    MARGIN,
    SegmentScores,
    Taught,
    overlap,
    remove_segment_scores,
    score_segments,
)
from training.supervision.targets import Targets

LABELS = (Label("dog"), Label("cat"), Label("siren"))


def clips(*lengths: int) -> Clips:
    random = np.random.default_rng(0)
    waveforms = [(3000 * random.standard_normal(length)).astype(np.int16) for length in lengths]
    return Clips(waveforms, np.eye(3, dtype=np.float32)[np.arange(len(lengths)) % 3], LABELS)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    network = Network(3, 0.0625).eval()
    torch.nn.init.normal_(network.wels.L4.weight, std=20)  # so that scores differ
    return network


def test_overlap_is_full_when_a_sound_fills_half_a_segment() -> None:
    whole = overlap(Placed(0, 10 * SEGMENT_HOP, 4 * SEGMENT_HOP), 1.0, 16)
    np.testing.assert_allclose(whole, [0, 0, 2 / 3, *[1.0] * 10, 2 / 3, 0, 0][: len(whole)])
    short = overlap(Placed(500, 600, SEGMENT_SPAN), 1.0, 6)  # 100 samples, from the end of segment 0
    np.testing.assert_array_equal(short, [0, 1, 1, 1, 0, 0])
    assert overlap(Placed(0, SEGMENT_SPAN, -SEGMENT_SPAN // 2), 1.0, 2).tolist() == [1.0, pytest.approx(1 / 3)]
    fast = overlap(Placed(0, 2 * SEGMENT_SPAN, 0), 2.0, 4)  # it lasts half as long
    np.testing.assert_allclose(fast, [1, 1, 2 / 3, 0], atol=1e-6)


def test_scores_of_isolated_clips_are_close_to_those_of_the_recording(network: Network, tmp_path: Path) -> None:
    some = clips(30_000, 3 * SEGMENT_HOP)
    alone = score_segments(network, some, tmp_path, 4)
    samples, onset = 10 * SEGMENT_HOP, 3 * SEGMENT_HOP
    segments = segment_count(samples)
    for clip, waveform in enumerate(some.waveforms):
        recording = np.zeros((1, samples), np.float32)
        recording[0, onset : onset + len(waveform)] = waveform / FULL_SCALE
        with torch.no_grad():
            expected = network(torch.from_numpy(recording)).segments[0].numpy()
        place = Placed(0, len(waveform), onset)
        contained = overlap(place, 1.0, segments) > 0
        assert contained.sum() > 4
        scores = alone.at(clip, place, 1.0, segments)
        off = [np.abs(np.roll(scores, by, 0)[contained] - expected[contained]).mean() for by in (0, 1, -1)]
        assert off[0] < 0.03, "they differ only through the context beyond a segment"
        assert min(off[1:]) > 2 * off[0]
        without_start = Placed(SEGMENT_HOP, len(waveform), onset + SEGMENT_HOP)
        np.testing.assert_array_equal(alone.at(clip, without_start, 1.0, segments), scores)


def test_segments_of_a_faster_recording_lie_closer_together() -> None:
    numbered = SegmentScores(np.arange(100, dtype=np.float16)[:, None], np.array([0, 40, 100]))
    place = Placed(0, 30 * SEGMENT_HOP, 0)
    assert numbered.at(0, place, 1.0, 5)[:, 0].tolist() == [MARGIN + k for k in range(5)]
    assert numbered.at(1, place, 2.0, 5)[:, 0].tolist() == [
        pytest.approx(40 + MARGIN + 1.5 + 2 * k, abs=0.5) for k in range(5)
    ]
    # segments of the recording beyond the clip get the clip's first or last one
    assert numbered.at(0, Placed(0, 100, 90 * SEGMENT_HOP), 1.0, 2)[:, 0].tolist() == [0, 0]
    assert numbered.at(0, Placed(0, 100, -90 * SEGMENT_HOP), 1.0, 2)[:, 0].tolist() == [39, 39]


def test_a_teacher_of_some_classes_is_silent_elsewhere() -> None:
    taught = Taught([1, 0], np.array([0, 3]), 4, np.array([False, True]))
    scores = SegmentScores(np.array([[0.25, 0.5]] * 6, np.float16), np.array([0, 3, 6]), taught)
    place = Placed(0, 3 * SEGMENT_HOP, 0)
    np.testing.assert_array_equal(scores.at(0, place, 1.0, 2), [[0.5, np.nan, np.nan, 0.25]] * 2)
    assert np.isnan(scores.at(1, place, 1.0, 2)).all()


def test_scoring_isolated_clips_resumes(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.supervision.segments.CHUNK", 2)
    some, student = clips(20_000, 30_000, 16_000, 50_000, 8_000), tmp_path / "student"
    expected = score_segments(network, some, tmp_path / "whole", 2)
    scored: list[int] = []  # clips done before each chunk

    def step(done: int, seconds: float) -> None:
        scored.append(done)
        if len(scored) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        score_segments(network, some, student, 2, step=step)
    (partial,) = student.glob("alone-*.f16.partial")
    assert 0 < partial.stat().st_size < expected.segments.nbytes
    with partial.open("ab") as file:
        file.write(bytes(7))  # left by a killed process
    resumed = score_segments(network, some, student, 2, step=step)
    assert scored == [0, 2, 2, 4]
    score_segments(network, some, student, 2, step=step)
    assert scored == [0, 2, 2, 4], "the finished file is read"
    np.testing.assert_array_equal(resumed.segments, expected.segments)
    assert not partial.exists()
    torch.nn.init.normal_(network.wels.L4.weight)
    other = score_segments(network, some, student, 2)
    assert (other.segments != expected.segments).any(), "the file of another teacher is not used"
    remove_segment_scores(student)
    assert not list(student.iterdir())


def test_segment_scores_that_are_not_finite_are_refused(network: Network, tmp_path: Path) -> None:
    torch.nn.init.constant_(network.wels.L4.bias, torch.nan)
    with pytest.raises(ScoreError, match="segment scores are not finite"):
        score_segments(network, clips(20_000), tmp_path, 2)
    assert not list(tmp_path.glob("alone-*.f16*"))


def test_segment_targets_combine_labels_and_scores_of_overlaid_clips(network: Network, tmp_path: Path) -> None:
    some = clips(60_000, 60_000)
    some.labels[1] = np.nan  # unlabelled
    alone = score_segments(network, some, tmp_path, 2)
    targets = Targets({"labels": 0.4, 0: 0.6}, some, segments={0: alone})
    one, other = Placed(0, 60_000, 0), Placed(0, 60_000, 40_000)
    (actual,) = targets.of_segments([{0: one, 1: other}], np.ones(1), 14)
    target_of_one = 0.4 * some.labels[0] + 0.6 * alone.at(0, one, 1.0, 14).astype(float)
    target_of_other = alone.at(1, other, 1.0, 14).astype(float)
    overlaps = overlap(one, 1.0, 14)[:, None], overlap(other, 1.0, 14)[:, None]
    expected = np.maximum(target_of_one * overlaps[0], target_of_other * overlaps[1])
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    by_labels = Targets({"labels": 1}, clips(60_000))
    np.testing.assert_allclose(by_labels.of_segments([{0: one}], np.ones(1), 14)[0], overlaps[0] * [[1, 0, 0]])


def test_stored_scores_of_a_clip_are_those_of_the_segments_in_which_it_sounds(network: Network, tmp_path: Path) -> None:
    some = clips(60_000)
    stored, alone = np.array([[0.2, 0.9, np.nan]]), score_segments(network, some, tmp_path, 2)
    targets = Targets({"labels": 0.2, "yamnet": 0.3, 0: 0.5}, some, {"yamnet": stored}, segments={0: alone})
    place = Placed(0, 60_000, 20_000)
    (actual,) = targets.of_segments([{0: place}], np.ones(1), 14)
    soft = 0.2 * some.labels[0] + 0.5 * alone.at(0, place, 1.0, 14).astype(float)
    combined = np.stack([*(soft[:, :2] + 0.3 * stored[0, :2]).T, soft[:, 2] / 0.7], 1)
    np.testing.assert_allclose(actual, combined * overlap(place, 1.0, 14)[:, None], atol=1e-6)


def test_what_is_unknown_of_one_clip_is_unknown_only_where_it_sounds() -> None:
    some = clips(60_000, 60_000)
    some.labels[:, :2] = [[1, np.nan], [np.nan, 1]]
    targets = Targets({"labels": 1}, some)
    places = {0: Placed(0, 60_000, 0), 1: Placed(0, 60_000, 20 * SEGMENT_HOP)}
    (actual,) = targets.of_segments([places], np.ones(1), 34)
    np.testing.assert_array_equal(actual[:3, :2], [[1, np.nan]] * 3)
    np.testing.assert_array_equal(actual[15:18, :2], 0)
    np.testing.assert_array_equal(actual[22:25, :2], [[np.nan, 1]] * 3)
    (actual,) = targets.of_segments([places | {1: Placed(0, 60_000, 0)}], np.ones(1), 34)
    np.testing.assert_array_equal(actual[:3, :2], 1)


def test_segment_targets_are_positive_only_where_a_clip_sounds(tmp_path: Path) -> None:
    augmentation = Augmentation(mixup=0, overlay=0.5, speed=0.5, gain=0)
    settings = Settings(batch_size=16, crop=4.0, augmentation=augmentation, teachers_hear="sounds")
    some = clips(*[2_000, 20_000, 90_000, 5_000] * 8)
    epoch = Epoch(some, Targets({"labels": 1}, some), settings, (0, 0, 1), Execution(torch.device("cpu")))
    sounding = silent = 0
    for (part,) in epoch.batches():
        waveform, targets, speeds = part.batch.waveform, part.batch.targets, part.batch.speeds
        assert targets.shape == (16, segment_count(settings.samples), 3)
        loud = at_speed(waveform.float(), speeds, settings.samples).abs() > 300
        for segment in range(targets.shape[1]):
            span = loud[:, segment * SEGMENT_HOP : segment * SEGMENT_HOP + SEGMENT_SPAN].float().mean(1)
            present = targets[:, segment].amax(1)
            assert not span[present == 0].any()
            assert (span[present == 1] > 0.02).all()
            sounding, silent = sounding + int((present == 1).sum()), silent + int((present == 0).sum())
        assert (targets.amax((1, 2)) == 1).all(), "every recording has a positive target"
    assert min(sounding, silent) > 20
