"""Results as JSON and as a table; ``python -m benchmarks.report RESULTS.json`` updates docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import Row

FORMAT = 1  # of the JSON file
PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
MARKS = ("<!-- results -->\n", "<!-- /results -->\n")
HEADINGS = ("", "benchmark", "value", "range", "goal", "met", "figures")


def entry(row: Row, others: float | None, seconds: float, judged: bool) -> dict[str, Any]:
    """One row of the JSON file; docs/benchmarks.md explains the keys. If not ``judged``, ``met`` is None."""
    return {
        "benchmark": row.number,
        "name": row.name,
        "unit": row.unit,
        "value": row.value,
        "summary": row.summary,
        "low": min(row.values, default=None),
        "high": max(row.values, default=None),
        "values": list(row.values),
        "goal": {row.goal.kind.replace(" ", "_"): row.goal.limit} if row.goal else None,
        "met": row.met if judged else None,
        "figure": row.figure,
        "details": dict(row.details),
        "others": others,
        "seconds": seconds,
    }


def cells(entry: dict[str, Any]) -> tuple[str, ...]:
    """Cells of a row, for a table with HEADINGS."""
    unit, goal = entry["unit"], entry["goal"]
    if entry["value"] is None:
        return str(entry["benchmark"]), entry["name"], "not measured", "", limit(goal, unit), "", entry["figure"]
    spread = f"{number(entry['low'], unit)} … {number(entry['high'], unit)}"
    met = {True: "yes", False: "NO", None: ""}[entry["met"]]
    value = number(entry["value"], unit)
    return str(entry["benchmark"]), entry["name"], value, spread, limit(goal, unit), met, entry["figure"]


def limit(goal: dict[str, float] | None, unit: str) -> str:
    if goal is None:
        return ""
    ((kind, bound),) = goal.items()
    return f"{'≥' if kind == 'at_least' else '≤'} {number(bound, unit)}"


def number(value: float, unit: str) -> str:
    if unit == "x":
        return f"{value:.2f}" if value < 10 else f"{value:.1f}"
    if unit == "":
        return f"{value:.1g}" if value < 1e-3 else f"{value:.3f}"
    return f"{value:.1f} %" if unit == "%" else f"{value:.0f} MB"


def markdown(results: dict[str, Any]) -> str:
    """The table for docs/benchmarks.md, preceded by the conditions of the measurement."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    lines += [f"| {' | '.join(cells(row))} |" for row in results["rows"]]
    warning = [f"**Unreliable:** {results['warning']}."] if results["warning"] else []
    return "\n".join([*conditions(results), *warning, "", *lines])


def conditions(results: dict[str, Any]) -> list[str]:
    """Sentences about machine, versions and audio."""
    machine, commit = results["machine"], results["commit"]
    features = " ".join(machine["features"]) or "no known vector extensions"
    versions = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    quick = "QUICK run on the small model and short recordings, no valid measurement. " if results["quick"] else ""
    revision = f"{(commit['revision'] or 'unknown')[:10]}{' with uncommitted changes' if commit['changed'] else ''}"
    return [
        f"{quick}{results['date'][:10]}, revision {revision}, {results['repeats']} rounds. "
        f"{machine['cpu']}, {machine['cpus']} CPUs ({features}), {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}, {versions}.",
        f"Audio: {results['audio']['description']}.",
    ]


def dumps(results: dict[str, Any]) -> str:
    return json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def page(text: str, results: dict[str, Any]) -> str:
    """The text of docs/benchmarks.md with its table replaced."""
    return replaced(text, markdown(results) + "\n", MARKS)


def replaced(text: str, content: str, marks: tuple[str, str]) -> str:
    """A text with what is between two marks replaced."""
    before, _, rest = text.partition(marks[0])
    _, _, after = rest.partition(marks[1])
    return f"{before}{marks[0]}{content}{marks[1]}{after}"


def write(path: Path, content: str, marks: tuple[str, str]) -> None:
    """Replace what is between two marks of a page."""
    path.write_text(replaced(path.read_text("utf-8"), content, marks), "utf-8")


if __name__ == "__main__":
    write(PAGE, markdown(json.loads(Path(sys.argv[1]).read_text("utf-8"))) + "\n", MARKS)
