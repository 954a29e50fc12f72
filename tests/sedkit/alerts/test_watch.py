"""From segment scores to alerts, with scores that are made by hand and a clock that is given."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, time, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sedkit.alerts.rules import Rule, parse_rule
from sedkit.alerts.schedule import Schedule, days_of
from sedkit.alerts.watch import Watch
from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.geometry import WELS_NET
from sedkit.timeline.settings import PostProcessing
from tests.conftest import LABELS, THRESHOLDS

START = datetime(2026, 6, 1, 12, tzinfo=UTC)  # a Monday
CLASSES = (*LABELS, Label("Bark", "/m/05tny_"))
LIMITS = (*THRESHOLDS, 0.45)


def sounds(segments: int, *periods: tuple[str, int, int, float]) -> np.ndarray:
    """Scores of all classes, [segments, classes]: of each period a class, its first and last segment and its score."""
    scores = np.zeros((segments, len(CLASSES)), np.float32)
    for name, first, last, score in periods:
        scores[first:last, [label.name for label in CLASSES].index(name)] = score
    return scores


def alerts_of(scores: np.ndarray, *rules: Rule | str, start: datetime = START, cuts: list[int] | None = None, **own):
    """Alerts that begin and those that end, each with the number of segments before."""
    began, ended, at = [], [], 0
    parsed = [parse_rule(rule) if isinstance(rule, str) else rule for rule in rules]

    def tell(alert) -> None:
        (began if alert.offset is None else ended).append((alert, at))

    post = PostProcessing(**own)
    watch = Watch(parsed, CLASSES, LIMITS, post, WELS_NET, "-", lambda s: start + timedelta(seconds=s), tell)
    bounds = [0, *(range(1, len(scores)) if cuts is None else sorted(cuts)), len(scores)]
    for first, last in itertools.pairwise(bounds):
        at = last
        watch.add(np.zeros((last - first + 2) * WELS_NET.segment_hop, np.float32), slice(0, last - first),
                  scores[first:last])  # fmt: skip
    watch.finish("-", 0.32 * len(scores) + 0.64)
    return began, ended


def test_alert_begins_while_the_sound_goes_on_and_ends_after_it():
    scores = sounds(60, ("Dog", 10, 50, 0.8))
    ((began, at),), ((ended, end),) = alerts_of(scores, "Dog>0.5")
    assert (began.rule, began.label, began.mid, began.source) == ("Dog", "Dog", "/m/0bt9lr", "-")
    assert began.onset == pytest.approx(3.52)
    assert began.time == START + timedelta(seconds=3.52)
    assert (at, end) == (13, 51)
    assert (ended.onset, ended.offset) == (began.onset, pytest.approx(16.0))
    assert began.to_dict() == {
        "rule": "Dog",
        "source": "-",
        "label": "Dog",
        "mid": "/m/0bt9lr",
        "onset": 3.52,
        "time": "2026-06-01T12:00:03.520+00:00",
        "score": 0.8,
    }
    assert ended.to_dict()["offset"] == 16.0


def test_level_decides_and_without_one_the_threshold_of_the_model():
    scores = sounds(40, ("Dog", 10, 20, 0.42))
    assert len(alerts_of(scores, "Dog>0.3", "Dog>0.41", "Dog>0.43", "Dog")[0]) == 3
    assert alerts_of(scores, "Dog", classes={"Dog": {"threshold": 0.5}})[0] == []


def test_duration():
    scores = sounds(60, ("Dog", 10, 16, 0.8), ("Siren", 10, 40, 0.8))
    began, ended = alerts_of(scores, "Dog for 3s", "Siren for 3s", "Dog for 1s")
    assert sorted(alert.rule for alert, _ in began) == ["Dog", "Siren"]
    (late,) = [at for alert, at in began if alert.rule == "Siren"]
    assert late == 10 + 12  # 3 s of tiles, of which level changes could take 0.32 s
    assert len(ended) == 2


def test_hysteresis_keeps_an_alert_on():
    scores = sounds(80, ("Dog", 10, 16, 0.8), ("Dog", 16, 24, 0.3), ("Dog", 24, 30, 0.8))
    assert len(alerts_of(scores, "Dog>0.5 until 0.2")[0]) == 1
    assert len(alerts_of(scores, "Dog>0.5 until 0.4")[0]) == 2


def test_group_names_the_class_that_sounds():
    scores = sounds(60, ("Bark", 10, 20, 0.7), ("Dog", 10, 20, 0.5), ("Siren", 30, 40, 0.9))
    began, _ = alerts_of(scores, "Animal>0.4")
    assert [(alert.rule, alert.label) for alert, _ in began] == [("Animal", "Bark")]
    several = Rule("noise", ("Bark", "Siren"), 0.4)
    assert [alert.label for alert, _ in alerts_of(scores, several)[0]] == ["Bark", "Siren"]


def test_cool_down_counts_from_the_onset_of_the_latest_alert():
    scores = sounds(400, *(("Dog", first, first + 5, 0.8) for first in (10, 30, 60, 100, 300)))
    began, ended = alerts_of(scores, "Dog>0.5 every 20s")
    assert [round(alert.onset / 0.32) - 1 for alert, _ in began] == [10, 100, 300]  # 30 and 60 are 6 and 16 s later
    assert len(ended) == 3  # what gave no alert has no end
    assert len(alerts_of(scores, "Dog>0.5")[0]) == 5


def test_schedule_decides_by_the_time_of_the_onset():
    scores = sounds(400, *(("Dog", first, first + 5, 0.8) for first in (10, 150, 300)))
    rule = Rule("Dog", ("Dog",), 0.5, schedule=Schedule(days_of("mon"), time(12, 0), time(12, 1), UTC))
    assert len(alerts_of(scores, rule)[0]) == 2  # the third begins 96 s after 12:00
    assert alerts_of(scores, rule, start=START + timedelta(days=1))[0] == []
    assert len(alerts_of(scores, rule, start=START - timedelta(seconds=60))[0]) == 1


def held(gap: int, score: float = 0.8) -> np.ndarray:
    """A dog that barely goes on: three segments that reach 0.5, as far apart as a hold of `gap` segments allows."""
    bark = [("Dog", first, first + 1, score) for first in range(10 + gap, 10 + 6 * gap, 2 * gap)]
    return sounds(60 + 8 * gap, ("Dog", 10, 20 + 6 * gap, 0.3), *bark)


@pytest.mark.parametrize(
    ("scores", "delay", "own"),
    [
        (held(9, 0.55), 14.4, {"hold": 2.88}),
        (held(20, 0.55), 32.0, {"hold": 6.4}),
        (sounds(200, ("Dog", 10, 150, 0.8)), 30.0, {"hold": 0.0, "median": 60.0}),
        (sounds(80, ("Dog", 10, 12, 0.9), ("Dog", 25, 40, 0.9)), 5.0, {"merge_gap": 5.0, "hold": 0.0}),
    ],
)  # fmt: skip
def test_post_processing_delays_alerts_no_longer_than_it_says(scores, delay, own):
    parsed = [parse_rule("Dog>0.5 until 0.1")]
    watch = Watch(parsed, CLASSES, LIMITS, PostProcessing(**own), WELS_NET, "-", lambda s: START, print)
    assert watch.delay == pytest.approx(delay)
    ((began, at),), _ = alerts_of(scores, "Dog>0.5 until 0.1", **own)
    assert at * WELS_NET.step - began.onset <= delay + 2.0
    if own["hold"] or own.get("median"):
        assert at * WELS_NET.step - began.onset > 0.9 * delay  # it really takes so long


def test_short_sound_is_an_alert_too():
    ((began, at),), ((ended, end),) = alerts_of(sounds(40, ("Dog", 10, 12, 0.9)), "Dog>0.5")
    assert (began.onset, at) == (ended.onset, end)


def test_sound_that_lasts_until_the_end_ends_with_it():
    began, ended = alerts_of(sounds(40, ("Dog", 20, 40, 0.9)), "Dog>0.5")
    assert len(began) == 1
    assert ended[0][0].offset == pytest.approx(0.32 * 40 + 0.64)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 80), max_size=10), st.sampled_from([0.0, 1.0, 3.0]))
def test_alerts_alternate_and_do_not_depend_on_chunks(seed, cuts, gap):
    random = np.random.default_rng(seed)
    steps = np.cumsum(random.standard_normal((80, len(CLASSES))), axis=0)
    scores = (1 / (1 + np.exp(-steps))).astype(np.float32)
    rules = ("Dog>0.5 for 0.5s", "Animal>0.6 every 5s", "Siren>0.3 until 0.2")
    told = [alerts_of(scores, *rules, cuts=chosen, merge_gap=gap) for chosen in (None, cuts)]
    for began, ended in told:
        starts = [(alert.rule, alert.onset) for alert, _ in began]
        assert len(set(starts)) == len(starts)
        assert sorted((alert.rule, alert.onset) for alert, _ in ended) == sorted(starts)
    one, other = ([[alert for alert, _ in sorted(part, key=lambda x: (x[0].rule, x[0].onset))] for part in both]
                  for both in told)  # fmt: skip
    assert one == other


def test_unknown_class_is_refused_with_the_nearest():
    with pytest.raises(ArgumentError, match=r"rule Dgo: Dgo: the model has no such class; did you mean Dog\?"):
        alerts_of(sounds(1), "Dgo")
