"""Regressions: rows of a run that are worse than the committed ones, by more than the rounds of those differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import number

FOLDER = Path(__file__).resolve().parent
MARGIN, QUICK_MARGIN = 0.1, 0.3  # share beyond the range of the committed rounds that is no regression


def reference(quick: bool) -> dict[str, Any]:
    """The committed results: ``quick.json`` of quick runs, ``results.json`` of full ones."""
    found: dict[str, Any] = json.loads((FOLDER / ("quick.json" if quick else "results.json")).read_text("utf-8"))
    return found


def regressions(results: Mapping[str, Any], committed: Mapping[str, Any]) -> Iterator[str]:
    """One line for each row of `results` that is worse than the committed one.

    Memory, overhead and differences of scores that meet their goal are never worse.
    """
    margin = QUICK_MARGIN if results["quick"] else MARGIN
    earlier = {(row["benchmark"], row["name"]): row for row in committed["rows"] if row["value"] is not None}
    for row in results["rows"]:
        before = earlier.get((row["benchmark"], row["name"]))
        if before is None or row["value"] is None:
            continue
        if row["unit"] != "x" and meets_goal(row):
            continue
        if higher_is_better(row):
            worst = before["low"] * (1 - margin)
            worse = row["value"] < worst
        else:
            worst = before["high"] * (1 + margin)
            worse = row["value"] > worst
        if worse:
            found, limit = number(row["value"], row["unit"]), number(worst, row["unit"])
            yield f"benchmark {row['benchmark']}: {row['name']} is {found}, and was never worse than {limit}"


def other_machine(results: Mapping[str, Any], committed: Mapping[str, Any]) -> str | None:
    """How this machine differs from that of the committed results, on which ratios depend, too."""
    here, there = ({key: each["machine"][key] for key in ("cpu", "cpus", "features")} for each in (results, committed))
    return None if here == there else f"the committed results are of another machine: {describe(there)}"


def describe(machine: Mapping[str, Any]) -> str:
    return f"{machine['cpu']}, {machine['cpus']} CPUs ({' '.join(machine['features'])})"


def meets_goal(row: Mapping[str, Any]) -> bool:
    """Whether a row has a goal and meets it; in quick runs, ``met`` is not filled in."""
    goal = row["goal"] or {}
    return row["value"] <= goal.get("at_most", -1) or row["value"] >= goal.get("at_least", float("inf"))


def higher_is_better(row: Mapping[str, Any]) -> bool:
    """Whether a row's value is a speed. Others are costs: overhead, memory, differences, and times to start."""
    return row["unit"] == "x" and "at_most" not in (row["goal"] or {})
