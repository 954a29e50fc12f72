"""Classes that more specific ones explain: which are, and what is left out of tags, cells and events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.contract import Label
from sedkit.geometry import WELS_NET
from sedkit.selection import explained, select
from sedkit.timeline.detection import EventDetector
from sedkit.timeline.events import DetectedOnset
from sedkit.timeline.settings import ColumnSettings, PostProcessing
from sedkit.timeline.timelines import TimelineView
from sedkit.timeline.views import TagsView
from tests.sedkit.timeline.test_postprocessing import SETTINGS, random_recording

ANIMAL, DOG, BARK = Label("Animal", "/m/0jbk"), Label("Dog", "/m/0bt9lr"), Label("Bark", "/m/05tny_")
WIND, OWN = Label("Wind", "/m/03m9d0z"), Label("Our dog")
LABELS = (BARK, WIND, ANIMAL, OWN, DOG)
BELOW = ((), (), (0, 4), (), (0,))
DOG_COLUMN = 4


def column_settings(**values: object) -> ColumnSettings:
    made = PostProcessing(**values).columns(LABELS, [0.5] * len(LABELS))
    return ColumnSettings(**{**vars(made), "below": BELOW})


def events_of(scores: dict[Label, list[float]], **values: object) -> list[tuple[str, float, float]]:
    """Label, onset and offset of each event of a recording with these segment scores."""
    rows = np.array([scores.get(label, [0.0] * len(next(iter(scores.values())))) for label in LABELS], np.float32).T
    view = TimelineView(LABELS, range(len(LABELS)), column_settings(**values), "native")
    samples = np.zeros(WELS_NET.padded_samples(0) + (len(rows) - 1) * WELS_NET.segment_hop, np.float32)
    view.add(samples, slice(0, len(rows)), rows)
    timeline = view.finish("x", len(samples) / WELS_NET.sample_rate)
    return [(event.label, event.onset, event.offset) for event in timeline.events]


def test_classes_below_are_those_of_the_ontology():
    assert select(LABELS).below == BELOW


def test_classes_that_are_asked_for_are_always_reported():
    assert not any(select(LABELS, parents=True).below)
    assert not any(select(LABELS, classes=["Dog", "Bark"]).below)
    rolled_up = select(LABELS, rollup=["Dog"])
    assert rolled_up.below[rolled_up.labels.index(DOG)] == ()
    assert rolled_up.below[rolled_up.labels.index(ANIMAL)] != ()


def test_excluded_classes_explain_nothing():
    chosen = select(LABELS, exclude=["Bark"])
    assert chosen.below[chosen.labels.index(DOG)] == ()


@pytest.mark.parametrize(
    ("bark", "dog", "is_explained"),
    [(0.75, 1.0, True), (0.74, 1.0, False), (0.49, 0.6, False), (0.9, 0.6, True), (0.0, 0.0, False)],
)
def test_class_is_explained_by_one_below_that_is_present_and_scores_three_quarters(bark, dog, is_explained):
    scores = np.array([bark, 0.9, 0.9, 0.9, dog])
    assert explained(scores, np.full(5, 0.5), BELOW)[DOG_COLUMN] == is_explained


def test_tags_are_the_most_specific_ones():
    view = TagsView(LABELS, range(5), None, 16, None, 0.01, None, select(LABELS), np.full(5, 0.5))
    view.add_scores(np.tile(np.array([0.7, 0.3, 0.9, 0.8, 0.9], np.float32), (3, 1)))
    assert [tag.label for tag in view.finish("x", 1.0).tags] == ["Our dog", "Bark", "Wind"]


def test_a_tag_below_the_threshold_hides_none_above_it():
    view = TagsView(LABELS, range(5), None, 16, None, 0.6, None, select(LABELS), np.full(5, 0.5))
    view.add_scores(np.tile(np.array([0.55, 0, 0.65, 0, 0.62], np.float32), (3, 1)))
    assert [tag.label for tag in view.finish("x", 1.0).tags] == ["Dog"]


def test_dog_that_barks_is_a_bark():
    dog = [0.0, 0.6, 0.9, 0.9, 0.9, 0.6, 0.0]
    bark = [0.0, 0.2, 0.8, 0.9, 0.8, 0.2, 0.0]
    assert [label for label, _, _ in events_of({ANIMAL: dog, DOG: dog, BARK: bark})] == ["Bark"]


def test_dog_that_growls_for_long_and_barks_is_both():
    dog, bark = [0.9] * 30, [0.0] * 10 + [0.9] * 5 + [0.0] * 15
    assert [label for label, _, _ in events_of({ANIMAL: dog, DOG: dog, BARK: bark})] == ["Dog", "Bark"]


def test_most_specific_of_the_highest_class_is_kept():
    dog, bark = [0.95] * 6, [0.9] * 6
    assert [label for label, _, _ in events_of({DOG: dog, BARK: bark}, max_classes=1)] == ["Bark"]


def test_cells_hold_the_most_specific_classes():
    view = TimelineView(LABELS, range(5), column_settings(), "native")
    rows = np.array([[0.9, 0, 0.9, 0, 0.9], [0, 0, 0.9, 0, 0.9], [0, 0, 0.9, 0, 0]], np.float32)
    view.add(np.zeros(WELS_NET.segment_span + 2 * WELS_NET.segment_hop, np.float32), slice(0, 3), rows)
    cells = view.finish("x", 1.6).seconds
    assert [[tag.label for tag in cell.tags] for cell in cells] == [["Bark"], ["Dog"], ["Animal"]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), SETTINGS, st.lists(st.integers(0, 60), max_size=8))
def test_events_do_not_depend_on_chunks_and_others_stay(seed, segments, values, cuts):
    scores, changes, duration = random_recording(seed, segments)
    uniform = ColumnSettings.uniform([0.5] * 3, **values)
    below = ColumnSettings(**{**vars(uniform), "below": ((1, 2), (), (1,))})

    def events(of: ColumnSettings, bounds: list[int]) -> list:
        detector = EventDetector(of)
        found = []
        for start, stop in zip([0, *bounds], [*bounds, segments], strict=True):
            found += detector.add(scores[start:stop], changes[start:stop]).events
        return sorted([*found, *detector.finish(duration, int(changes[-1, 1])).events], key=lambda event: event.onset)

    whole = events(below, [])
    key = sorted(repr(event) for event in whole)
    assert key == sorted(repr(event) for event in events(below, sorted(cut for cut in cuts if cut <= segments)))
    if "max_classes" not in values:
        without = [event for event in events(uniform, []) if event.column == 1]
        assert [event for event in whole if event.column == 1] == without


def test_classes_above_others_have_no_onsets():
    scores = np.zeros((40, 5), np.float32)
    scores[5:, [1, 4]] = 0.9
    detector = EventDetector(column_settings(), onsets=True)
    found: list[DetectedOnset] = detector.add(scores, np.zeros((40, 2), np.int64)).onsets
    assert {onset.column for onset in found} == {1}


def test_memory_is_that_of_the_events_that_go_on():
    detector = EventDetector(column_settings())
    for _ in range(50):
        scores = np.zeros((20, 5), np.float32)
        scores[3:6, [0, 4]] = 0.9
        detector.add(scores, np.zeros((20, 2), np.int64))
    assert len(detector.parents.lit) < 60
