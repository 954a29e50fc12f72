"""``python -m benchmarks``: measure inference and print a table."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import check, machine, report
from benchmarks.audio import Recordings, data_folder
from benchmarks.harness import Row, Setup, Unavailable
from sedkit.inference import graph_cache as cache
from sedkit.inference.cpus import usable_cpus

BENCHMARKS = {
    1: ("arithmetic", "fp32 against the machine's sgemm rate"),
    2: ("quantisation", "int8 against fp32"),
    3: ("front_end", "overhead of the front end"),
    4: ("hour", "one hour against YAMNet"),
    5: ("architectures", "other networks"),
    6: ("cold_start", "cold start"),
    7: ("memory", "peak memory"),
    8: ("folder", "2,000 short files"),
    9: ("seams", "seams"),
}
QUICK_REPEATS = 3
SHARED = ("format", "machine", "versions", "commit", "repeats", "quick")  # must be the same for all rows of a table


def parse_numbers(context: click.Context, option: click.Parameter, text: str | None) -> list[int]:
    if text is None:
        return list(BENCHMARKS)
    numbers = [int(part) if part.strip().isdigit() else 0 for part in text.split(",")]
    if not set(numbers) <= set(BENCHMARKS):
        raise click.BadParameter(f"benchmarks are numbered 1 to {len(BENCHMARKS)}; give numbers such as 1,3")
    return sorted(set(numbers))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", metavar="1,3", callback=parse_numbers, help="Run only these benchmarks.")
@click.option("--repeats", type=click.IntRange(1), help="Rounds per comparison  [default: 5, or 3 with --quick].")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all results as JSON. With --only, update the rows of an existing file.",
)
@click.option("--quick", is_flag=True, help="Only check that everything runs, on a small network; under two minutes.")
@click.option(
    "--check",
    "checked",
    is_flag=True,
    help="Compare the ratios with the committed ones (benchmarks/results.json, or quick.json), and fail if one is "
    "worse than the rounds of those differ.",
)
def main(only: list[int], repeats: int | None, output: Path | None, quick: bool, checked: bool) -> None:
    """Measure speed and memory of inference, relative to other networks and to the machine's limit.

    \b
    1 fp32 / sgemm         4 an hour / YAMNet     7 peak memory
    2 int8 / fp32          5 other networks       8 2,000 short files
    3 front end            6 cold start           9 seams

    \b
    Examples:
      python -m benchmarks --output results.json           all; about 40 minutes on two CPUs
      python -m benchmarks --only 1,3                      two of them
      python -m benchmarks --only 4 --output results.json  repeat one and update the results
      python -m benchmarks --quick                         check that they run
      python -m benchmarks --quick --check                 ... and that nothing became slower

    The exit code is 1 if a benchmark failed, or --check finds a regression. A missed goal is not a failure.
    """
    if output and not output.resolve().parent.is_dir():
        raise click.UsageError(f"{output.resolve().parent}: no such folder; create it first")
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    recordings = Recordings(data_folder())
    results: dict[str, Any] = {
        "format": report.FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "repeats": repeats or (QUICK_REPEATS if quick else 5),
        "quick": quick,
        "audio": {"real": recordings.real, "description": recordings.describe()},
        **machine.describe(),
        "load_average": machine.load_average(),
        "warning": None,
        "rows": [],
        "failures": [],
    }
    if output and output.exists() and len(only) < len(BENCHMARKS):
        results["rows"] = rows_to_keep(output, only, results)
    if not recordings.real:
        messages.print(f"audio: {recordings.describe()}", style="yellow")
    try:
        for number in only:
            name, title = BENCHMARKS[number]
            messages.print(f"{number} {title}", style="dim")
            with tempfile.TemporaryDirectory(prefix="sedkit-benchmarks-", ignore_cleanup_errors=True) as scratch:
                os.environ[cache.VARIABLE] = str(Path(scratch) / "cache")  # empty, instead of the user's
                setup = Setup(recordings, Path(scratch), results["repeats"], quick, usable_cpus())
                measure(number, name, setup, results)
            results["warning"] = disturbance(results["rows"])
            if output:
                write(output, results)
    except KeyboardInterrupt:
        results["failures"].append("interrupted")
    if checked:
        committed = check.reference(quick)
        results["failures"] += check.regressions(results, committed)
        if difference := check.other_machine(results, committed):
            messages.print(f"warning: {difference}", style="yellow", markup=False)
    show(results)
    if results["warning"]:
        messages.print(f"warning: {results['warning']}", style="yellow")
    for failure in results["failures"]:
        messages.print(f"error: {failure}", style="red", markup=False)
    sys.exit(1 if results["failures"] else 0)


def measure(number: int, name: str, setup: Setup, results: dict[str, Any]) -> None:
    """Run a benchmark and add its rows to the results. A failure is recorded and does not stop the others."""
    watch = machine.Watch()
    rows = []
    try:
        for row in import_module(f"benchmarks.{name}").measure(setup):
            rows.append(row)
    except Unavailable as missing:
        rows.append(Row(number, BENCHMARKS[number][1], figure=str(missing)))
    except Exception as error:
        if "SEDKIT_DEBUG" in os.environ:
            raise
        message = f"benchmark {number}: {type(error).__name__}: {error} (SEDKIT_DEBUG=1 shows where)"
        results["failures"].append(message)
    others, seconds = watch.others(), watch.seconds()
    results["rows"] += [report.entry(row, others, seconds, judged=not setup.quick) for row in rows]
    results["rows"].sort(key=lambda row: row["benchmark"])


def rows_to_keep(path: Path, only: list[int], results: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an existing results file that the benchmarks ``only`` do not replace.

    Raises
    ------
    click.UsageError
        If the file has other values of SHARED: its rows cannot be combined with new ones.
    """
    try:
        earlier = json.loads(path.read_text("utf-8"))
        differing = [key for key in SHARED if earlier[key] != results[key]]
        rows = [row for row in earlier["rows"] if row["benchmark"] not in only]
    except (OSError, ValueError, KeyError, TypeError):
        raise click.UsageError(f"{path}: not a results file; choose another --output") from None
    if differing:
        raise click.UsageError(f"{path}: differs in {', '.join(differing)}; choose another --output")
    return rows


def disturbance(rows: list[dict[str, Any]]) -> str | None:
    """A warning if other processes used the CPUs during the run."""
    busy = {row["benchmark"]: row["others"] for row in rows if (row["others"] or 0) > machine.BUSY}
    if not busy:
        return None
    shares = ", ".join(f"{share:.0%} in benchmark {number}" for number, share in busy.items())
    return f"other processes used the CPUs ({shares}): measure again on an idle machine"


def write(path: Path, results: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(report.dumps(results), "utf-8")
    temporary.replace(path)


def show(results: dict[str, Any]) -> None:
    """Print the table: drawn on a terminal, as Markdown through a pipe."""
    console = Console(highlight=False)
    if not console.is_terminal:
        print(report.markdown(results))
        return
    for line in report.conditions(results):
        console.print(line, style="dim")
    table = Table(*report.HEADINGS, box=None, padding=(0, 2, 0, 0))
    for row in results["rows"]:
        style = {True: "green", False: "red", None: ""}[row["met"]]
        cells = [Text(cell) for cell in report.cells(row)]
        cells[2].stylize(style)
        cells[5].stylize(style)
        table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
