"""Figures: equal to those of scikit-learn, sed_eval and sed_scores_eval, and intervals by repeating recordings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sed_scores_eval", reason="figures are measured with the extra 'evaluation'")

from sedkit.contract import Label
from sedkit.judging import bootstrap
from sedkit.judging.figures import event_figures, tag_figures
from sedkit.judging.psds_and_f1 import PSDS, Detections, PsdsInput, libraries, psds, spans

CLASSES, RECORDINGS, SECONDS = 4, 12, 20.0
LABELS = [Label(f"class {number}") for number in range(CLASSES)]
NO_REPLICATES = np.zeros((0, RECORDINGS))


@pytest.fixture(scope="module")
def recordings() -> tuple[list[Detections], list]:
    """Recordings of 20 s with events of 4 classes, and noisy detections of them; every class has events."""
    random = np.random.default_rng(0)
    detections, truth = [], []
    for number in range(RECORDINGS):
        edges = np.arange(0, SECONDS + 0.25, 0.25)
        scores = (0.4 * random.random((len(edges) - 1, CLASSES))).astype(np.float32)
        events = []
        for column in {number % CLASSES, int(random.integers(CLASSES))}:
            start = int(random.integers(0, 60))
            length = int(random.integers(4, 20))
            scores[start : start + length, column] += random.uniform(0.2, 0.6)
            onset = max(0.0, start * 0.25 + random.choice([0, 0.1, 0.7]))
            events.append((onset, onset + length * 0.25, column))
        truth.append(sorted(events))
        tags = scores.max(axis=0) + random.normal(0, 0.2, CLASSES).astype(np.float32)
        detections.append(Detections(edges, scores, spans(edges, scores, 0.5), tags, tags >= 0.5))
    return detections, truth


@pytest.fixture(scope="module")
def targets(recordings) -> np.ndarray:
    return np.array([[column in {c for *_, c in spans} for column in range(CLASSES)] for spans in recordings[1]])


def values(row) -> list[float]:
    return [figure.value for figure in row]


def test_tags_equal_scikit_learn(recordings, targets):
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores = np.stack([each.tags for each in recordings[0]])
    for rounded in (scores, scores.round(1)):  # with ties, too
        found = tag_figures(targets, rounded, LABELS, NO_REPLICATES)
        ap = [average_precision_score(*pair) for pair in zip(targets.T, rounded.T, strict=True)]
        auc = [roc_auc_score(*pair) for pair in zip(targets.T, rounded.T, strict=True)]
        assert values(found.by_class["AP"]) == pytest.approx(ap, rel=1e-14, abs=0)
        assert values(found.by_class["AUC"]) == pytest.approx(auc, rel=1e-14, abs=0)
        assert found.overall["mAP"].value == pytest.approx(np.mean(ap), rel=1e-14)
        assert found.overall["mAP"].interval is None


def test_events_equal_sed_eval(recordings):
    sed_eval, _ = libraries()
    names = [str(column) for column in range(CLASSES)]
    segments = sed_eval.sound_event.SegmentBasedMetrics(names, time_resolution=1.0)
    events = sed_eval.sound_event.EventBasedMetrics(names, t_collar=0.2, percentage_of_length=0.5)
    for detected, spans_ in zip(*recordings, strict=True):
        lists = [
            [{"file": "x", "event_onset": a, "event_offset": b, "event_label": str(c)} for a, b, c in side]
            for side in (spans_, detected.events)
        ]
        segments.evaluate(*lists, evaluated_length_seconds=SECONDS)
        events.evaluate(*lists)
    found = event_figures(*recordings, CLASSES, NO_REPLICATES)
    for name, metrics in (("segment", segments), ("event", events)):
        single = [metrics.results_class_wise_metrics()[each]["f_measure"] for each in names]
        for key, figure in (("f_measure", "f1"), ("precision", "precision"), ("recall", "recall")):
            expected = [0.0 if np.isnan(each[key]) else each[key] for each in single]
            assert values(found.by_class[f"{name}_{figure}"]) == expected
        expected = [0.0 if np.isnan(each["f_measure"]) else each["f_measure"] for each in single]
        assert found.overall[f"{name}_f1"].value == np.mean(expected)
        assert found.overall[f"{name}_f1_micro"].value == metrics.overall_f_measure()["f_measure"]
    assert 0 < found.overall["event_f1"].value < 1


def test_psds_equals_sed_scores_eval(recordings):
    import pandas

    _, sed_scores_eval = libraries()
    names = [str(column) for column in range(CLASSES)]
    scores = {
        f"{number}": pandas.DataFrame(
            {"onset": each.edges[:-1], "offset": each.edges[1:]}
            | {name: each.scores[:, column].copy() for column, name in enumerate(names)}
        )
        for number, each in enumerate(recordings[0])
    }
    truth = {f"{number}": [(a, b, str(c)) for a, b, c in each] for number, each in enumerate(recordings[1])}
    found = event_figures(*recordings, CLASSES, NO_REPLICATES)
    for name, criteria in PSDS.items():
        value, by_class, *_ = sed_scores_eval.intersection_based.psds(
            scores, truth, dict.fromkeys(truth, SECONDS), **criteria, alpha_st=1.0, max_efpr=100.0
        )
        assert found.overall[name].value == value
        assert values(found.by_class[name]) == [by_class[each] for each in names]


def test_replicates_equal_repeated_recordings(recordings, targets):
    """Every weight means as many copies of the recording."""
    detections, truth = recordings
    weights = np.random.default_rng(1).integers(0, 3, (3, RECORDINGS)).astype(float)
    weights[:, :CLASSES] += 1  # all classes occur
    given = PsdsInput.of(detections, truth, range(CLASSES))
    scores = np.stack([each.tags for each in detections]).round(1)
    for row in weights:
        order = np.repeat(np.arange(RECORDINGS), row.astype(int))
        copies = [detections[number] for number in order], [truth[number] for number in order]
        repeated = PsdsInput.of(*copies, range(CLASSES))
        for name in PSDS:
            deltas = given.deltas(name)
            drawn = psds(name, *given.drawn(given.joined(deltas), row))
            whole = psds(name, repeated, repeated.deltas(name))
            assert drawn[0] == pytest.approx(whole[0])
            assert drawn[1] == pytest.approx(whole[1])
        once = tag_figures(targets[order], scores[order], LABELS, np.zeros((0, len(order))))
        assert bootstrap.class_ap(targets, scores, row[None])[:, 0] == pytest.approx(values(once.by_class["AP"]))
        assert bootstrap.class_auc(targets, scores, row[None])[:, 0] == pytest.approx(values(once.by_class["AUC"]))


def test_intervals_hold_the_value_and_shrink_with_more_recordings(recordings, targets):
    weights = bootstrap.resampling_weights([str(number) for number in range(RECORDINGS)], 20)
    few = event_figures(*recordings, CLASSES, weights)
    for name, figure in few.overall.items():
        low, high = figure.interval
        assert 0 <= low <= figure.value <= high <= 1, name
        assert low < high or figure.value == 1, name
    many = [each * 6 for each in recordings]
    weights = bootstrap.resampling_weights([str(number) for number in range(6 * RECORDINGS)], 60)
    narrow = tag_figures(np.tile(targets, (6, 1)), np.stack([each.tags for each in many[0]]), LABELS, weights)
    weights = bootstrap.resampling_weights([str(number) for number in range(RECORDINGS)], 60)
    wide = tag_figures(targets, np.stack([each.tags for each in recordings[0]]), LABELS, weights)
    width = [figures.overall["mAP"].interval for figures in (narrow, wide)]
    assert width[0][1] - width[0][0] < width[1][1] - width[1][0]


def test_classes_without_events_have_no_figures(recordings):
    detections, truth = recordings
    wider = [
        Detections(
            each.edges, np.pad(each.scores, ((0, 0), (0, 1))), each.events, np.append(each.tags, 0), each.present
        )
        for each in detections
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = event_figures(wider, truth, CLASSES + 1, NO_REPLICATES)
    assert np.isnan(found.by_class["event_f1"][CLASSES].value)
    assert found.overall == event_figures(detections, truth, CLASSES, NO_REPLICATES).overall
    only = event_figures(
        detections, [[span for span in each if span[2] == 0] for each in truth], CLASSES, NO_REPLICATES
    )
    assert "PSDS1" not in only.overall  # it needs two classes
    assert only.overall["event_f1"].to_dict() == {"value": only.by_class["event_f1"][0].value, "interval": None}
