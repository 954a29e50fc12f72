"""Rounds, ratios and rows of the benchmark harness."""

from __future__ import annotations

import time

import pytest

from benchmarks.harness import Row, at_least, at_most, race, ratios, seconds


def test_race_alternates_the_order_of_contenders():
    calls = []
    contenders = {name: lambda item, name=name: calls.append((name, item)) for name in "ab"}
    race(contenders, [1, 2], warm_up=0)
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2)]


def test_race_excludes_the_warm_up_and_keeps_results():
    contenders = {"slow": lambda pause: time.sleep(4 * pause) or "s", "fast": lambda pause: time.sleep(pause) or "f"}
    rounds = race(contenders, [0.02, 0.02, 0.02], warm_up=0.0)
    assert [one["slow"].result + one["fast"].result for one in rounds] == ["sf"] * 3
    assert len(ratios(rounds, "slow", "fast")) == 3
    assert min(ratios(rounds, "slow", "fast")) > 1.2
    assert 0.08 <= seconds(rounds, "slow") < 1


@pytest.mark.parametrize(
    ("goal", "summary", "value", "met"),
    [
        (at_least(2.0), "median", 2.0, True),
        (at_least(2.1), "median", 2.0, False),
        (at_most(9.0), "largest", 9.0, True),
        (at_most(8.0), "largest", 9.0, False),
        (None, "median", 2.0, None),
    ],
)
def test_goal_is_compared_with_the_value(goal, summary, value, met):
    row = Row(1, "a / b", [1.0, 9.0, 2.0], goal=goal, summary=summary)
    assert (row.value, row.met) == (value, met)


def test_row_without_values_has_no_verdict():
    row = Row(1, "a / b", figure="needs something", goal=at_least(1))
    assert row.value is None
    assert row.met is None
