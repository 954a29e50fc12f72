"""``python -m benchmarks --check`` finds rows that became worse."""

from __future__ import annotations

import pytest

from benchmarks.check import other_machine, regressions
from benchmarks.harness import Row, at_least, at_most
from benchmarks.report import entry


def results(row: Row, quick: bool = False) -> dict:
    machine = {"cpu": "x", "cpus": 2, "features": ["avx2"], "memory_gb": 8}
    return {"rows": [entry(row, 0.0, 1.0, judged=False)], "machine": machine, "quick": quick}


@pytest.mark.parametrize(
    ("before", "now", "worse"),
    [
        (Row(2, "a / b", [1.8, 2.0], goal=at_least(1.8)), Row(2, "a / b", [1.63]), False),
        (Row(2, "a / b", [1.8, 2.0], goal=at_least(1.8)), Row(2, "a / b", [1.6]), True),
        (Row(2, "a / b", [1.8, 2.0]), Row(2, "a / b", [3.0]), False),
        (Row(6, "a / b", [1.5, 1.6], goal=at_most(1.7)), Row(6, "a / b", [1.8], goal=at_most(1.7)), True),
        (Row(6, "a / b", [1.5, 1.6], goal=at_most(1.7)), Row(6, "a / b", [1.2], goal=at_most(1.7)), False),
        (Row(7, "memory", [100.0, 120.0], unit="MB"), Row(7, "memory", [140.0], unit="MB"), True),
        (Row(7, "memory", [100.0, 120.0], unit="MB"), Row(7, "memory", figure="not here"), False),
        (
            Row(9, "seams", [0.0], unit="", goal=at_most(1e-6)),
            Row(9, "seams", [1e-7], unit="", goal=at_most(1e-6)),
            False,
        ),
        (Row(7, "another", [1.0], unit="MB"), Row(7, "memory", [140.0], unit="MB"), False),
    ],
)
def test_worse_than_the_range_of_the_committed_rounds_is_a_regression(before, now, worse):
    found = list(regressions(results(now), results(before)))
    assert bool(found) == worse
    assert not worse or now.name in found[0]


def test_quick_runs_have_a_wider_margin():
    before, now = Row(4, "a / b", [1.0, 1.2]), Row(4, "a / b", [0.75])
    assert list(regressions(results(now), results(before)))
    assert not list(regressions(results(now, quick=True), results(before, quick=True)))


def test_another_machine_is_told():
    here, there = results(Row(1, "a")), results(Row(1, "a"))
    assert other_machine(here, there) is None
    there["machine"]["cpus"] = 64
    assert "64 CPUs" in str(other_machine(here, there))
