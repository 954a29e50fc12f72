"""Which recording and which class of one source is which of another, and what results say about a reference."""

from __future__ import annotations

import numpy as np
import pytest

from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.formats.reading import Annotations
from sedkit.judging.pairing import pair
from sedkit.judging.psds_and_f1 import UNLISTED
from sedkit.judging.trial import Reference, from_results, joined
from sedkit.judging.vocabulary import Vocabulary
from sedkit.results import Event, Tag

DOG, SIREN = Label("Dog", "/m/0bt9lr"), Label("Siren", "/m/03kmc9")


@pytest.mark.parametrize(
    ("names", "others", "expected"),
    [
        (["a/x.wav"], ["a/x.wav", "b/x.wav"], {"a/x.wav": "a/x.wav"}),
        (["/d/a/x.wav", "/d/b/x.wav"], ["b/x.wav", "a/x.wav"], {"/d/a/x.wav": "a/x.wav", "/d/b/x.wav": "b/x.wav"}),
        (["x.wav"], ["labels/x"], {"x.wav": "labels/x"}),
        (["x.wav"], ["x.txt", "x.wav"], {"x.wav": "x.wav"}),
        (["x.wav", "y.wav"], ["folder/y.wav"], {"y.wav": "folder/y.wav"}),
        (["x.1.wav"], ["x.2.wav"], {}),
        (["s1/x.wav", "s2/x.wav"], ["s1/x.wav"], {"s1/x.wav": "s1/x.wav"}),
        (["s2/x.wav", "s1/x.wav"], ["s1/x.wav", "s3/x.wav"], {"s1/x.wav": "s1/x.wav"}),
        (["s2/x.wav", "s1/x.wav"], ["s1/x.wav", "s2/x"], {"s2/x.wav": "s2/x", "s1/x.wav": "s1/x.wav"}),
        (["s1/x.wav"], ["s2/x.wav"], {"s1/x.wav": "s2/x.wav"}),
        (["x.flac", "x.wav"], ["y/x.wav", "x"], {"x.flac": "x", "x.wav": "y/x.wav"}),
        (["1 05.30.00.wav", "1 05.30.01.wav"], ["1 05.30.01", "1 05.30.00"],
         {"1 05.30.00.wav": "1 05.30.00", "1 05.30.01.wav": "1 05.30.01"}),
        (["1 05.30.00"], ["1 05.30.01"], {}),
        (["rec.v2"], ["a/rec.v2.wav", "a/rec.v3.wav"], {"rec.v2": "a/rec.v2.wav"}),
    ],
)  # fmt: skip
def test_recordings_are_found_by_the_end_of_their_paths(names, others, expected):
    assert pair(names, others, "table") == expected


@pytest.mark.parametrize(
    ("names", "others"), [(["x.wav"], ["a/x.wav", "b/x.wav"]), (["a/x.wav", "b/x.wav"], ["x.wav"])]
)
def test_doubtful_recordings_are_refused(names, others):
    with pytest.raises(ArgumentError, match=r"table: .* may be .*; give the recordings different names"):
        pair(names, others, "table")


def test_classes_match_by_mid_or_name():
    vocabulary = Vocabulary([DOG])
    vocabulary.learn([Event(0, 1, "siren", None, 1), Tag("Siren", SIREN.mid, 1), Tag("kettle", None, 1)])
    for name, mid, found in [
        ("dog", None, DOG),
        ("Hund", DOG.mid, DOG),
        (DOG.mid, None, DOG),
        ("SIREN", None, SIREN),
        ("Kettle", None, Label("kettle")),
        ("Cat", None, None),
    ]:
        assert vocabulary.find(name, mid) == found
    assert vocabulary.near("sirn") == ["Siren"]


def test_events_of_a_class_that_overlap_or_touch_are_one():
    assert joined([(3, 4, 0), (0, 2, 0), (1, 2.5, 0), (2.5, 2.7, 0), (1, 2, 1)]) == [(0, 2.7, 0), (1, 2, 1), (3, 4, 0)]


def reference(*annotations: Annotations, **options) -> tuple[Reference, Vocabulary]:
    vocabulary = Vocabulary([DOG, SIREN])
    return Reference.of(annotations, "labels", vocabulary, **options), vocabulary


TRUTH = (
    Annotations("a.wav", 10.0, (Event(1, 2, "Dog", None, 1), Event(4, 5, "Siren", None, 1))),
    Annotations("b.wav", 8.0, (Event(1, 2, "Dog", None, 1),)),
    Annotations("c.wav", 8.0),
)


def test_results_become_scores_at_all_thresholds():
    given, vocabulary = reference(*TRUTH)
    found = [
        Annotations("x/a.wav", None, (Event(1, 3, "Hund", DOG.mid, 0.9), Event(2.5, 4, "Dog", None, 0.4))),
        Annotations("x/d.wav", None, (Event(1, 3, "Dog", None, 0.9),)),
    ]
    vocabulary.learn(event for each in found for event in each.events)
    trial = from_results(given, found, "results", vocabulary)
    assert trial.strong
    assert trial.names == ["a.wav", "b.wav", "c.wav"]
    assert trial.targets.tolist() == [[True, True], [True, False], [False, False]]
    first = trial.detections[0]
    assert first.edges.tolist() == [0, 1, 2.5, 3, 4, 10]
    np.testing.assert_allclose(first.scores[:, 0], [UNLISTED, 0.9, 0.9, 0.4, UNLISTED], rtol=1e-6)
    np.testing.assert_allclose(first.tags, [0.9, 0], rtol=1e-6)
    assert [each.events for each in trial.detections[1:]] == [[], []]
    assert any("2 of 3 recordings of the reference have no results" in note for note in trial.notes)
    assert any("1 recordings of the results are not in the reference" in note for note in trial.notes)


def test_tags_count_before_events_and_weak_references_have_none():
    given, vocabulary = reference(Annotations("a.wav", None, (), (Tag("Dog", None, 1.0),)), Annotations("b.wav"))
    found = [Annotations("a.wav", 10.0, (Event(1, 3, "Dog", None, 0.9),), (Tag("Dog", None, 0.3),))]
    trial = from_results(given, found, "results", vocabulary)
    assert not trial.strong
    np.testing.assert_allclose(trial.detections[0].tags, [0.3], rtol=1e-6)
    assert trial.targets.tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("annotations", "options", "found", "message"),
    [
        ([Annotations("a.wav")], {}, [], "labels: has no labels"),
        (TRUTH, {"classes": ["Cat"]}, [], "labels: has no label Cat; it has Dog, Siren"),
        (TRUTH, {}, [Annotations("d.wav", 1.0, (Event(0, 1, "Dog", None, 1),))], "d.wav, but labels is about"),
        (TRUTH, {}, [Annotations("a.wav", 1.0, (Event(0, 1, "Dogs", None, 1),))], "no class of labels.*near: Dogs"),
    ],
)  # fmt: skip
def test_nothing_in_common_is_explained(annotations, options, found, message):
    with pytest.raises(ArgumentError, match=message):
        trial_of(found, *annotations, **options)


@pytest.mark.parametrize("found", [[], [Annotations("a.wav", 10.0)]])
def test_results_without_events_found_nothing(found: list[Annotations]):
    trial = trial_of(found, *TRUTH)
    assert trial.strong
    assert [each.events for each in trial.detections] == [[], [], []]


def trial_of(found: list[Annotations], *annotations: Annotations, **options):
    given, vocabulary = reference(*annotations, **options)
    vocabulary.learn(event for each in found for event in each.events)
    return from_results(given, found, "results", vocabulary)
