"""Clips around alerts: their sound sample by sample, bounded memory, quota, and disks that cannot be written."""

from __future__ import annotations

import itertools
import math
from datetime import timedelta

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.alerts.clips import LATENCY, Clips
from sedkit.alerts.ring import Ring
from sedkit.errors import OutputError
from tests.sedkit.alerts.receiving import START, alert

RATE = 8_000
SOUND = (np.arange(60 * RATE) % 30_000 - 15_000).astype(np.int16)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_ring_keeps_what_it_promises_in_bounded_memory(lengths, first, last):
    ring, kept = Ring(0.5, 1000.0), 500
    sound = np.arange(sum(lengths))
    for start, stop in itertools.pairwise([0, *itertools.accumulate(lengths)]):
        ring.add(sound[start:stop])
        assert ring.held <= kept + max(lengths) * 2
    start, stop = (ring.end - kept + kept * min(first, last)) / 1000, (ring.end - kept + kept * max(first, last)) / 1000
    expected = sound[max(0, round(start * 1000)) : max(0, round(stop * 1000))]
    np.testing.assert_array_equal(ring.cut(start, stop), expected)


@pytest.mark.parametrize(("kind", "channels"), [("wav", 1), ("flac", 2)])
@pytest.mark.parametrize("block", [160, 4_000, 100_000])
def test_clip_is_the_sound_around_the_onset(tmp_path, kind, channels, block):
    notices = []
    sound = SOUND if channels == 1 else np.stack([SOUND, -SOUND], axis=1)
    clips = Clips("clips", notices.append, str(tmp_path / "made" / "here"), before=1.0, after=2.0, kind=kind)
    told = False
    for start in range(0, len(sound), block):
        clips.hear(sound[start : start + block], RATE)
        if not told and start + block >= 22 * RATE:  # 2 s after the onset
            clips.begin(alert(20.0))
            told = True
    clips.close()
    path = clips.path_of(alert(20.0))
    assert path.name == f"20260601T120020.000Z_dog.{kind}"
    assert list(path.parent.iterdir()) == [path]
    found, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    np.testing.assert_array_equal(found, sound[19 * RATE : 22 * RATE])
    assert notices == []


def test_clip_waits_for_its_end_and_is_shorter_at_the_ends_of_the_source(tmp_path):
    clips = Clips("clips", print, str(tmp_path), before=2.0, after=8.0)
    clips.hear(SOUND[: 3 * RATE], RATE)
    clips.begin(alert(1.0))
    clips.hear(SOUND[3 * RATE : 5 * RATE], RATE)
    assert list(tmp_path.iterdir()) == []
    clips.close()
    np.testing.assert_array_equal(soundfile.read(clips.path_of(alert(1.0)), dtype="int16")[0], SOUND[: 5 * RATE])


def test_ring_reaches_back_to_the_onset_of_a_long_rule(tmp_path):
    clips = Clips("clips", print, str(tmp_path), before=2.0, after=1.0, lasting=20.0)
    for start in range(0, 40 * RATE, 800):
        clips.hear(SOUND[start : start + 800], RATE)
    clips.begin(alert(40.0 - 20.0 - LATENCY))  # the latest time at which it can be told
    clips.close()
    found, _ = soundfile.read(clips.path_of(alert(10.0)), dtype="int16")
    np.testing.assert_array_equal(found, SOUND[8 * RATE : 11 * RATE])


def test_ring_reaches_back_to_an_onset_that_the_post_processing_delays(tmp_path):
    clips = Clips("clips", print, str(tmp_path), before=2.0, after=1.0, delay=30.0)
    for start in range(0, 50 * RATE, 800):
        clips.hear(SOUND[start : start + 800], RATE)
    clips.begin(alert(50.0 - 30.0 - LATENCY))
    clips.close()
    found, _ = soundfile.read(clips.path_of(alert(10.0)), dtype="int16")
    np.testing.assert_array_equal(found, SOUND[8 * RATE : 11 * RATE])


def test_sound_that_is_no_longer_in_memory_is_told_and_makes_no_file(tmp_path):
    notices = []
    clips = Clips("clips", notices.append, str(tmp_path), before=1.0, after=1.0, delay=math.inf)
    clips.ring = Ring(1.0, RATE)
    for start in range(0, 50 * RATE, 800):
        clips.hear(SOUND[start : start + 800], RATE)
    clips.begin(alert(10.0))
    clips.close()
    (notice,) = notices
    assert f"{clips.path_of(alert(10.0))}: its sound is no longer in memory; shorten hold" in notice
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("quota", "kept"), [({"max_clips": 3}, 3), ({"max_megabytes": 0.04}, 2), ({}, 6)])
def test_quota_deletes_the_oldest_clips_and_nothing_else(tmp_path, quota, kept):
    (tmp_path / "20200101_000000.wav").write_bytes(b"a recording of somebody else")
    clips = Clips("clips", print, str(tmp_path), before=0.5, after=0.5, **quota)
    onsets = range(1, 7)
    clips.hear(SOUND[: 10 * RATE], RATE)
    for onset in onsets:
        clips.begin(alert(float(onset)))
    clips.close()
    found = sorted(path.name for path in tmp_path.iterdir())
    names = [f"{START + timedelta(seconds=onset):%Y%m%dT%H%M%S}.000Z_dog.wav" for onset in onsets]
    assert found == ["20200101_000000.wav", *names[-kept:]]


def test_folder_that_cannot_be_made_is_refused_and_one_that_vanishes_is_told_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        Clips("clips", print, str(tmp_path / "file" / "folder"))
    notices = []
    clips = Clips("clips", notices.append, str(tmp_path / "clips"), before=0.5, after=0.5)
    (tmp_path / "clips").rmdir()
    clips.hear(SOUND[: 10 * RATE], RATE)
    for onset in (1.0, 2.0):
        clips.begin(alert(onset))
    clips.close()
    (notice,) = notices
    assert "cannot be written" in notice
