"""Comparison of results: events matched by overlap, seconds in common, differences of tags."""

from __future__ import annotations

import pytest

from sedkit.errors import ArgumentError
from sedkit.formats.reading import Annotations
from sedkit.judging.changes import compare, text
from sedkit.results import Event, Tag


def events(*spans: tuple[float, float, str]) -> tuple[Event, ...]:
    return tuple(Event(onset, offset, label, None, 0.5) for onset, offset, label in spans)


A = [
    Annotations("x/a.wav", 20.0, events((0, 2, "Dog"), (5, 6, "Dog"), (10, 12, "Dog"), (1, 3, "Siren"))),
    Annotations("x/b.wav", 20.0, events((0, 1, "Dog"))),
]
B = [
    Annotations("y/a.wav", 20.0, events((0.05, 2, "dog"), (10.5, 14, "Dog"), (1, 2, "Siren"), (1.8, 3.4, "Siren"))),
    Annotations("y/c.wav", 20.0, events((0, 1, "Dog"))),
]


def test_events_are_matched_once_each_by_overlap():
    report = compare(A, B, ("A", "B"), 0.1, 0.5)
    assert report["recordings"] == {"both": 1, "only_a": 1, "only_b": 1}
    dog, siren = report["classes"]
    assert [dog["events"][kind] for kind in ("same", "moved", "only in A", "only in B")] == [1, 1, 2, 1]
    assert dog["events"]["seconds_a"] == 6
    assert dog["events"]["seconds_b"] == pytest.approx(1.95 + 3.5 + 1)
    assert dog["events"]["agreement"] == pytest.approx((1.95 + 1.5) / (6 + 6.45 - 3.45), abs=1e-4)
    assert [siren["events"][kind] for kind in ("same", "moved", "only in A", "only in B")] == [0, 1, 0, 1]
    moved = next(change for change in report["differences"] if change["label"] == "Siren" and change["a"])
    assert moved["b"]["onset"] == 1.8  # shares more with the event of A than the other
    assert report["events"]["same"] == 1
    assert compare(A, B, ("A", "B"), 0.01, 0.5)["events"]["same"] == 0


def test_a_result_is_the_same_as_itself():
    report = compare(A, A, ("A", "A"), 0.0, 0.5)
    assert report["differences"] == []
    assert report["events"]["agreement"] == 1
    assert report["events"]["same"] == 5


def test_events_within_the_tolerance_are_the_same_without_an_overlap():
    a = [Annotations("a.wav", 9.0, events((1, 1, "Dog"), (2, 2.05, "Cat"), (4, 5, "Cat"), (7, 7, "Cat")))]
    b = [Annotations("a.wav", 9.0, events((1, 1, "Dog"), (2.06, 2.1, "Cat"), (4, 4.98, "Cat"), (7.2, 7.2, "Cat")))]
    assert compare(a, a, ("A", "A"), 0.0, 0.5)["differences"] == []
    found = compare(a, b, ("A", "B"), 0.1, 0.5)["events"]
    assert [found[kind] for kind in ("same", "moved", "only in A", "only in B")] == [3, 0, 1, 1]


def test_tags_differ_by_score_and_presence():
    sides = [
        [Annotations(f"{number}.wav", None, (), (Tag("Dog", None, score),)) for number, score in enumerate(scores)]
        for scores in ((0.9, 0.4, 0.2), (0.7, 0.6, 0.1))
    ]
    (dog,) = compare(*sides, ("A", "B"), 0.1, 0.5)["classes"]
    assert dog["tags"] == {
        "both": 1, "only_a": 0, "only_b": 1, "mean_difference": -0.0333, "largest_difference": -0.2
    }  # fmt: skip
    assert dog["events"]["agreement"] is None


def test_the_text_names_what_changed():
    shown = text(compare(A, B, ("old.tsv", "new.tsv"), 0.1, 0.5))
    assert "A: old.tsv\nB: new.tsv\n1 recordings in both, 1 only in A, 1 only in B" in shown
    assert "x/a.wav    Dog    only in A    5.00-6.00" in shown
    many = [Annotations("a.wav", None, events(*((number, number + 0.5, "Dog") for number in range(30))))]
    assert "... and 10 more; --format json has all" in text(compare(many, [Annotations("a.wav")], ("A", "B"), 0.1, 0.5))


def test_a_result_without_recordings_has_nothing():
    report = compare(A, [], ("A", "B"), 0.1, 0.5)
    assert report["recordings"] == {"both": 0, "only_a": 2, "only_b": 0}
    assert report["events"]["only in A"] == 5
    assert compare([], A, ("A", "B"), 0.1, 0.5)["events"]["only in B"] == 5


def test_other_recordings_are_refused():
    with pytest.raises(ArgumentError, match=r"no recording in common: x/b\.wav; y/c\.wav"):
        compare(A[1:], B[1:], ("A", "B"), 0.1, 0.5)
