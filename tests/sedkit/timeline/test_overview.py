"""The overview of a recording: spectrogram and tracks, in bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sedkit.contract import Label
from sedkit.geometry import WELS_NET, Geometry
from sedkit.inference.model import pieces
from sedkit.timeline import overview
from sedkit.timeline.overview import Spectrogram, Tracks, with_overview
from sedkit.timeline.settings import ColumnSettings, PostProcessing
from sedkit.timeline.timelines import TimelineView
from tests.conftest import make_sound


def spectrogram(samples, blocks=1, low_latency=False, geometry=WELS_NET):
    built = Spectrogram(geometry)
    for piece, kept in pieces(np.array_split(samples, blocks), low_latency, geometry):
        built.add(piece, kept)
    return built.finish()


@pytest.mark.parametrize("geometry", [WELS_NET, Geometry(32_000, 32_000, 64_000, 64_000)])
def test_a_tone_lights_up_its_band_at_its_level(geometry):
    rate = geometry.sample_rate
    time = np.arange(2 * rate) / rate
    levels, seconds = spectrogram((0.1 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32), geometry=geometry)
    assert (levels.shape, seconds) == ((overview.BANDS, 100), 0.02)
    bin_1_khz = round(1000 * overview.WINDOW)
    assert levels[:, 50].argmax() == overview.mel_filters(rate)[bin_1_khz].argmax()
    assert levels[:, 50].max() / 2.55 - 100 == pytest.approx(-20, abs=2)  # dB


def test_the_spectrogram_does_not_depend_on_the_blocks():
    samples = make_sound(47)
    whole, _ = spectrogram(samples)
    cut, _ = spectrogram(samples, blocks=91, low_latency=True)
    np.testing.assert_array_equal(whole, cut)


def test_a_long_recording_has_few_columns_which_are_the_means_of_the_fine_ones(monkeypatch):
    samples = make_sound(63)
    fine, _ = spectrogram(samples)
    monkeypatch.setattr(overview, "MAX_COLUMNS", 101)
    coarse, seconds = spectrogram(samples)
    assert coarse.shape[1] * seconds == pytest.approx(63, abs=seconds)
    frames = round(seconds / 0.02)
    assert frames == 32
    whole = len(fine[0]) // frames
    power = 10 ** (fine[:, : whole * frames].reshape(overview.BANDS, whole, frames) / 25.5)
    np.testing.assert_allclose(coarse[:, :whole], 25.5 * np.log10(power.mean(axis=2)), atol=1.5)


def test_tracks_keep_the_classes_that_score_at_some_time():
    scores = np.zeros((100, 5), np.float32)
    scores[70, 3], scores[3, 1], scores[:, 4] = 0.9, 0.5, 0.09
    tracks = Tracks()
    for part in np.array_split(scores, 7):
        tracks.add(part)
    classes, rows = tracks.finish(needed=[4])
    assert classes == [3, 1, 4]
    np.testing.assert_allclose(rows.T / 255, scores[:, classes], atol=0.002)


def test_there_are_no_more_tracks_than_the_limit_unless_needed(monkeypatch):
    monkeypatch.setattr(overview, "MAX_TRACKS", 2)
    tracks = Tracks()
    tracks.add(np.array([[0.5, 0.9, 0.8, 0.6]], np.float32))
    assert tracks.finish(needed=[0])[0] == [1, 2, 0]


def test_a_timeline_with_an_overview_is_otherwise_the_same(tagger):
    samples = make_sound(25)
    make_view = tagger.timeline_view(threshold=0.3, classes=["Siren", "Dog"])
    plain, drawn = make_view(), with_overview(make_view, [1, 2], ColumnSettings.uniform([0.3, 0.3]))()
    for piece, kept, scores in tagger.model.scored_pieces([samples]):
        for view in (plain, drawn):
            view.add(piece, kept, scores)
    timeline = drawn.finish("a.wav", 25.0)
    assert timeline == plain.finish("a.wav", 25.0)
    assert timeline.overview.levels.shape == (overview.BANDS, 1250)
    names = [timeline.labels[position].name for position in timeline.overview.classes]
    assert {event.label for event in timeline.events} <= set(names)
    segments = timeline.overview.tracks.shape[1]
    assert segments == 77


def test_tracks_are_filtered_and_name_the_rows_that_explain_them():
    labels = tuple(Label(name) for name in ("Rain", "Dog", "Animal"))
    settings = PostProcessing(median=0.96, threshold=0.5).columns(labels, [0.5] * 3)
    settings = replace(settings, below=((), (), (0, 1)))
    scores = np.full((10, 3), 0.6, np.float32)
    scores[:, 0] = 0.05  # has no track
    scores[4, 1] = 0.9  # alone: the median removes it
    scores[:, 2] = 0.7
    view = with_overview(lambda: TimelineView(labels, range(3), settings, "native"), range(3), settings)()
    view.add(np.zeros(12 * WELS_NET.segment_hop, np.float32), slice(0, None), scores)
    drawn = view.finish("-", 3.84).overview
    assert [labels[position].name for position in drawn.classes] == ["Animal", "Dog"]
    assert drawn.below == ((1,), ())
    np.testing.assert_allclose(drawn.tracks[1] / 255, 0.6, atol=0.002)
