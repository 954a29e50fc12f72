"""The Python API, on an untrained model: results are compared with the graph's own outputs."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import soundfile

import sedkit
from sedkit.errors import ArgumentError, AudioError, ModelError
from sedkit.geometry import segment_count
from sedkit.timeline.detection import detect
from sedkit.timeline.edges import level_changes
from sedkit.timeline.settings import ColumnSettings
from tests.conftest import LABELS, THRESHOLDS, make_sound
from tests.sedkit.audio.encoding import without_offset

SOUND = make_sound(12.3, seed=8)
HEARD = without_offset(SOUND)  # by the network


@pytest.fixture(scope="module")
def outputs(model_path) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    names = ["segments", "clip"]
    return dict(zip(names, (out[0] for out in session.run(names, {"waveform": HEARD[None]})), strict=True))


def test_attributes(tagger):
    assert tagger.labels == LABELS
    assert tagger.device == "cpu"
    assert tagger.contract.name == "test"


def test_clip_scores_equal_those_of_the_graph(tagger, model_path):
    sound = SOUND[: 16_000 * 10]  # the default of tag_segments
    session = onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])
    clip = session.run(["clip"], {"waveform": without_offset(sound)[None]})[0][0]
    tagging = tagger.tag(sound, 16_000, top_k=None)
    assert (tagging.file, tagging.duration) == ("<array>", 10)
    scores = {tag.label: tag.score for tag in tagging.tags}
    np.testing.assert_allclose([scores[label.name] for label in LABELS], clip, atol=1e-6)
    assert [tag.score for tag in tagging.tags] == sorted(scores.values(), reverse=True)
    assert {tag.label: tag.mid for tag in tagging.tags} == {label.name: label.mid for label in LABELS}


def test_clip_score_of_a_long_recording_is_the_maximum_over_a_sliding_window(tagger):
    sound = make_sound(70, seed=9)
    scores = np.concatenate(list(tagger.model.segments([without_offset(sound)])))
    assert len(scores) == segment_count(len(sound))
    tags = {tag.label: tag.score for tag in tagger.tag(sound, 16_000, top_k=None).tags}
    means = [scores[start : start + 30].mean(axis=0) for start in range(len(scores) - 29)]
    np.testing.assert_allclose([tags[label.name] for label in LABELS], np.max(means, axis=0), atol=1e-6)


def test_top_k_threshold_and_classes_of_tag(tagger):
    everything = tagger.tag(SOUND, 16_000, top_k=None).tags
    assert tagger.tag(SOUND, 16_000).tags == everything[:5]
    assert tagger.tag(SOUND, 16_000, top_k=2).tags == everything[:2]
    assert tagger.tag(SOUND, 16_000, threshold=everything[2].score).tags == everything[:3]
    assert tagger.tag(SOUND, 16_000, threshold=1).tags == ()
    chosen = tagger.tag(SOUND, 16_000, classes=["our KETTLE", "/m/0bt9lr"]).tags
    assert chosen == tuple(tag for tag in everything if tag.label in ("Our kettle", "Dog"))
    assert tagger.tag(SOUND, 16_000, classes="Dog").tags == tuple(tag for tag in everything if tag.label == "Dog")


def test_timeline_uses_the_thresholds_of_the_model(tagger, outputs):
    timeline = tagger.timeline(SOUND, 16_000, resolution="native")
    np.testing.assert_allclose(timeline.scores, outputs["segments"], atol=1e-6)
    active = outputs["segments"] >= np.array(THRESHOLDS)
    assert active.any()
    tags_of_cells = [{tag.label for tag in second.tags} for second in timeline.seconds]
    assert tags_of_cells == [{LABELS[i].name for i in np.flatnonzero(row)} for row in active]
    edges = level_changes(HEARD)
    expected = detect(outputs["segments"], edges, timeline.duration, ColumnSettings.uniform(THRESHOLDS))
    assert len(expected) > 3
    assert {(event.onset, event.offset, event.label) for event in timeline.events} == {
        (event.onset, event.offset, LABELS[event.column].name) for event in expected
    }


def test_timeline_with_cells_of_one_second(tagger):
    timeline = tagger.timeline(SOUND, 16_000, threshold=0.4)
    assert len(timeline.seconds) == 13
    assert timeline.scores.shape == (13, 5)
    assert [second.start for second in timeline.seconds] == list(range(13))
    assert timeline.seconds[-1].end == pytest.approx(12.3)
    for second, row in zip(timeline.seconds, timeline.scores, strict=True):
        assert [tag.score for tag in second.tags] == sorted(row[row >= 0.4].tolist(), reverse=True)


def test_events_do_not_depend_on_the_grid(tagger):
    coarse, native = (tagger.timeline(SOUND, 16_000, threshold=0.4, resolution=r) for r in (5, "native"))
    assert coarse.events == native.events
    assert len(coarse.events) > 3
    assert list(coarse.events) == sorted(coarse.events, key=lambda event: (event.onset, event.label))
    assert all(event.score >= 0.4 and 0 <= event.onset < event.offset <= 12.3 for event in coarse.events)


def test_classes_of_timeline(tagger):
    everything = tagger.timeline(SOUND, 16_000, threshold=0.3)
    chosen = tagger.timeline(SOUND, 16_000, threshold=0.3, classes=["Siren", "speech"])
    assert [label.name for label in chosen.labels] == ["Speech", "Siren"]
    np.testing.assert_array_equal(chosen.scores, everything.scores[:, [0, 2]])
    assert chosen.events == tuple(event for event in everything.events if event.label in ("Speech", "Siren"))


@pytest.mark.parametrize("samples", [1, 400, 5_000, 15_359])
def test_recordings_shorter_than_a_segment(tagger, samples):
    duration = samples / 16_000
    timeline = tagger.timeline(SOUND[:samples], 16_000, threshold=0)
    assert [(second.start, second.end) for second in timeline.seconds] == [(0, duration)]
    ((onset, offset),) = {(event.onset, event.offset) for event in timeline.events}
    edges = 0.01 * level_changes(without_offset(SOUND[:samples]))
    assert (onset, offset) == (pytest.approx(edges[0, 0]), pytest.approx(duration + edges[1, 1]))
    assert len(tagger.tag(SOUND[:samples], 16_000, threshold=0).tags) == 5


def test_recording_of_less_than_one_sample_at_16_khz(tagger):
    for analyse in (tagger.tag, tagger.timeline):
        with pytest.raises(AudioError, match="too short"):
            analyse(np.zeros(1), 48_000)


def test_results_as_dictionaries_and_dataframes(tagger, tmp_path):
    path = tmp_path / "sound.flac"
    soundfile.write(path, SOUND, 16_000)
    tagging, timeline = tagger.tag(path), tagger.timeline(str(path), threshold=0.4)
    assert tagging.to_dict()["file"] == str(path)
    assert list(tagging.to_dict()["tags"][0]) == ["label", "mid", "score"]
    assert list(timeline.to_dict()) == ["file", "duration", "resolution", "seconds", "events"]
    assert timeline.to_dict()["resolution"] == 1.0
    assert list(timeline.to_dict()["events"][0]) == ["onset", "offset", "label", "mid", "score"]
    assert tagging.to_dataframe().shape == (5, 4)
    assert timeline.to_dataframe().shape == (len(timeline.events), 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": 0}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"top_k": True}, "top_k"),
        ({"threshold": 1.5}, "between 0 and 1, not 1.5"),
        ({"threshold": float("nan")}, "between 0 and 1"),
        ({"threshold": "high"}, "between 0 and 1"),
        ({"classes": ["Dgo"]}, "Dgo: the model test has no such class; did you mean Dog?"),
        ({"classes": ["bell"]}, "bell: the model test has no such class; did you mean Church bell?"),
        ({"classes": ["/m/nonsense"]}, "test.onnx lists them"),
        ({"classes": []}, "classes is empty"),
    ],
)
def test_invalid_arguments_are_raised_before_decoding(tagger, arguments, message):
    with pytest.raises(ArgumentError) as caught:
        tagger.tag("missing.wav", **arguments)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_invalid_resolution_is_raised_before_decoding(tagger):
    with pytest.raises(ArgumentError, match="'native' or at least"):
        tagger.timeline("missing.wav", resolution="coarse")
    with pytest.raises(ArgumentError, match="path of a TOML file, not dict"):
        tagger.timeline("missing.wav", postprocessing={"hold": 1})
    for weights in ((0.0, 0.0), (float("nan"), 1.0), (-1.0, 2.0), ()):
        with pytest.raises(ArgumentError, match="weights must be numbers from 0 on"):
            tagger.stream([], weights=weights)


def test_missing_recording_and_missing_model(tagger):
    with pytest.raises(AudioError, match=r"missing\.wav: no such file"):
        tagger.tag("missing.wav")
    with pytest.raises(ModelError, match="nonesuch: no such model"):
        sedkit.Tagger("nonesuch")
