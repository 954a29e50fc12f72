"""Selected classes, AudioSet's ontology, and tables of results."""

from __future__ import annotations

import doctest
import importlib
import sys

import numpy as np
import pytest

from sedkit import ontology, selection
from sedkit.contract import Label
from sedkit.errors import ArgumentError, SedkitError
from sedkit.results import Event, Second, Tag, Tagging, Timeline
from sedkit.selection import select, suggestion

LABELS = (
    Label("Dog", "/m/0bt9lr"),
    Label("Chirp, tweet", "/m/07pggtn"),
    Label("Crow", "/m/04s8yn"),
    Label("Wind", "/m/03m9d0z"),
    Label("Our kettle"),
)
TIMELINE = Timeline(
    "a.wav",
    4.0,
    1.0,
    tuple(Second(float(k), k + 1.0, (Tag("Dog", "/m/0bt9lr", 0.5), Tag("Wind", "/m/03m9d0z", 0.4))) for k in range(4)),
    (Event(0.5, 1.5, "Dog", "/m/0bt9lr", 0.7), Event(2.0, 4.0, "Wind", "/m/03m9d0z", 0.6)),
    np.arange(8, dtype=np.float32).reshape(4, 2),
    (LABELS[0], LABELS[3]),
)


@pytest.mark.parametrize("name", ["sedkit.ontology", "sedkit.selection", "sedkit.results", "sedkit.timeline.settings"])
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, extraglobs={"Label": Label})
    assert outcome.attempted
    assert not outcome.failed


def test_ontology_is_complete_and_consistent():
    known = ontology.load()
    assert len(known.names) == 632
    assert set(known.children) == set(known.names)
    assert {child for children in known.children.values() for child in children} <= set(known.names)
    assert known.below(known.find("Animal")) > known.below(known.find("Bird"))
    assert known.parents(known.find("Yip")) == [known.find("Dog")]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Bird", 'did you mean Chirp, tweet; Crow? --rollup Bird (in Python rollup="Bird") scores'),
        ("brid", "nearest in AudioSet's ontology: Chirp, tweet; Crow"),
        ("kettle", "did you mean Our kettle?"),
        ("Dgo", "did you mean Dog?"),
        ("Bark", "nearest in AudioSet's ontology: Dog"),
        ("Guitar", ""),
        ("xqzv", ""),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name, said):
    assert suggestion(name, LABELS).startswith(said)
    assert bool(suggestion(name, LABELS)) == bool(said)
    assert "Wind" not in suggestion(name, LABELS)


def test_exclude_and_rollup():
    chosen = select(LABELS, exclude=["wind", "Our kettle"], rollup="Bird")
    assert [label.name for label in chosen.labels] == ["Dog", "Chirp, tweet", "Crow", "Bird"]
    assert chosen.columns == (0, 1, 2)
    scores = np.array([[0.1, 0.2, 0.3], [0.4, 0.6, 0.5]])
    np.testing.assert_array_equal(chosen.highest(scores), [[0.1, 0.2, 0.3, 0.3], [0.4, 0.6, 0.5, 0.6]])
    assert chosen.thresholds([0.5, 0.4, 0.3, 0.2, 0.1]).tolist() == [0.5, 0.4, 0.3, 0.3]
    only = select(LABELS, ["bird"], rollup=["Bird"])
    assert ([label.name for label in only.labels], only.columns) == (["Bird"], (1, 2))
    assert not select(LABELS).rolls_up
    assert select(LABELS, None, exclude=None, rollup=None) == select(LABELS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["Bird"]}, "Bird: the model has no such class; did you mean Chirp, tweet; Crow?"),
        ({"exclude": ["Catt"]}, "Catt: the model has no such class"),
        ({"classes": [5]}, "classes are given by name or MID, not 5"),
        ({"rollup": 5}, "classes are given by name or MID, not 5"),
        ({"exclude": [label.name for label in LABELS]}, "exclude leaves no class"),
        ({"rollup": ["Brid"]}, "Brid: AudioSet's ontology has no such class; did you mean Bird"),
        ({"rollup": ["Guitar"]}, "Guitar: the model has no class below it"),
    ],
)
def test_errors_of_a_selection(arguments, message):
    with pytest.raises(ArgumentError) as caught:
        select(LABELS, **arguments)
    assert message in str(caught.value)


def test_select_a_part_of_a_timeline():
    part = TIMELINE.select(["dog"], start=1, end=3)
    assert [(cell.start, [tag.label for tag in cell.tags]) for cell in part.seconds] == [(1, ["Dog"]), (2, ["Dog"])]
    assert [event.label for event in part] == ["Dog"]
    assert (part.scores.tolist(), part.labels) == ([[2], [4]], (LABELS[0],))
    assert TIMELINE.select(start=1.5).events == TIMELINE.events[1:]
    assert TIMELINE.select() == TIMELINE
    with pytest.raises(ArgumentError, match="Cat: the timeline has no such class"):
        TIMELINE.select("Cat")


def test_tables_have_the_same_rows_and_types():
    for result in (TIMELINE, TIMELINE.select(start=9), Tagging("a.wav", 1.0, (Tag("Dog", None, 0.5),))):
        table, frame = result.to_arrow(), result.to_dataframe()
        assert table.to_pylist() == frame.astype(object).where(frame.notna(), None).to_dict("records")
        assert len(table) == len(list(result))
        assert [str(field.type) for field in table.schema if field.name in ("score", "mid")] == ["string", "double"]


@pytest.mark.parametrize(("method", "library"), [("to_dataframe", "pandas"), ("to_arrow", "pyarrow")])
def test_a_missing_library_is_named_with_the_remedy(method, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SedkitError, match=f"needs {library}: pip install"):
        getattr(TIMELINE, method)()


def test_rolled_up_classes_of_a_tagger(tagger):
    sound = np.random.default_rng(0).normal(0, 0.1, 80_000).astype(np.float32)
    everything = {tag.label: tag.score for tag in tagger.tag(sound, 16_000, top_k=None, threshold=0).tags}
    (bell,) = tagger.tag(sound, 16_000, classes=["Bell"], rollup=["Bell"]).tags
    assert bell.score == everything["Church bell"]
    timeline = tagger.timeline(sound, 16_000, resolution="native", rollup=["Animal"], threshold={"*": 0.2, "Dog": 0.9})
    names = [label.name for label in timeline.labels]
    np.testing.assert_array_equal(timeline.scores[:, names.index("Animal")], timeline.scores[:, names.index("Dog")])
    assert all(event.score >= 0.9 for event in timeline.select("Dog"))
    assert list(tagger.stream([sound], rollup=["Animal"], threshold=0.2, resolution="native"))
    assert selection.select(tagger.labels, rollup=["Animal"]).rolls_up


def test_change_points_need_the_whole_recording(tagger):
    with pytest.raises(ArgumentError, match="needs the whole recording"):
        tagger.stream([], postprocessing=tagger.post_processing().replace(method="change-points"))
    assert (
        tagger.timeline(
            np.zeros(16_000), 16_000, postprocessing=tagger.post_processing().replace(method="change-points")
        ).events
        == ()
    )
