"""Estimate the cost of a million hours of audio from measurements; writes the tables of docs/scale.md.

    python -m benchmarks.scale RESULTS.json ARCHIVE...

RESULTS.json is the output of ``python -m benchmarks``, of which benchmarks 4 (one hour) and 8 (short files) are used.
ARCHIVE is the output of ``sedkit tag`` or ``sedkit timeline`` with ``--engine ray`` on representative recordings.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import conditions, write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
MARKS = ("<!-- figures -->\n", "<!-- /figures -->\n")
HOURS = 1_000_000
CPUS = 1000
PRICE = 0.04  # per CPU-hour, an assumption
LOST = 0.05  # share of machines lost per hour, an assumption for preemptible ones
FORMATS = {  # bytes per hour
    "Opus, 32 kbit/s": 32e3 / 8 * 3600,
    "MP3 or AAC, 128 kbit/s": 128e3 / 8 * 3600,
    "WAV, 16 kHz mono, 16 bit": 16000 * 2 * 3600,
    "WAV, 44.1 kHz stereo, 16 bit": 44100 * 2 * 2 * 3600,
}
PLANNED = 50_000  # recordings in the plan that is measured


@dataclass(frozen=True)
class Rate:
    """Speed of one CPU relative to real time, for a model and a kind of recordings."""

    name: str
    speed: float


def rates(results: Mapping[str, Any]) -> Iterator[Rate]:
    """Speeds of ``sedkit tag``, each model once."""
    cpus, seen = results["machine"]["cpus"], set()
    for row in results["rows"]:
        details = row["details"]
        model = row["name"].partition("sedkit, ")[2] or row["name"].partition("sedkit tag, ")[2]
        if row["value"] is None or (row["benchmark"], model) in seen:
            continue
        seen.add((row["benchmark"], model))
        if row["benchmark"] == 4:
            yield Rate(model, details["seconds_of_sound"] / details["seconds"] / cpus)
        elif row["benchmark"] == 8:
            yield Rate(model, details["files_per_second"] * 5.0 / cpus)


def compute(rates: Sequence[Rate]) -> Iterator[tuple[str, ...]]:
    yield (
        "model, recordings",
        "x real time per CPU",
        "CPU-hours",
        f"days on {CPUS:,} CPUs",
        f"cost at {PRICE} per CPU-hour",
    )
    for rate in rates:
        needed = HOURS / rate.speed
        yield rate.name, f"{rate.speed:.0f}", f"{needed:,.0f}", f"{needed / CPUS / 24:.1f}", f"{needed * PRICE:,.0f}"


def network(rates: Sequence[Rate]) -> Iterator[tuple[str, ...]]:
    fast, slow = max(rate.speed for rate in rates), min(rate.speed for rate in rates)
    yield "format", "MB per hour", "TB", "MB/s per CPU", f"Gbit/s for {CPUS:,} CPUs"
    for name, size in FORMATS.items():
        reads = [speed * size / 3600 for speed in (slow, fast)]
        yield (
            name,
            f"{size / 1e6:.0f}",
            f"{size * HOURS / 1e12:,.0f}",
            span(*(read / 1e6 for read in reads)),
            span(*(read * 8 * CPUS / 1e9 for read in reads)),
        )


def span(low: float, high: float) -> str:
    return " … ".join(f"{number:.1f}" if number < 10 else f"{number:,.0f}" for number in (low, high))


def output(archives: Sequence[Path]) -> Iterator[tuple[str, ...]]:
    """Rows and bytes of real archives, as stored and merged into one partition."""
    from pyarrow import dataset, parquet

    yield "archive", "recordings", "hours", "rows per hour", "bytes per row", "as one partition", "GB for all"
    for archive in archives:
        manifest = json.loads((archive / "_sedkit" / "manifest.json").read_text("utf-8"))
        parts = manifest["partitions"]
        table = dataset.dataset(archive).to_table()
        packed = io.BytesIO()
        parquet.write_table(table.replace_schema_metadata(), packed, compression="zstd")
        hours = sum(part["seconds"] for part in parts) / 3600
        size = sum((archive / part["name"]).stat().st_size for part in parts)
        options = {
            name: value
            for name, value in manifest["settings"].items()
            if name.startswith("--") and value not in (None, False, 0, "mix", [])
        }
        model = options.pop("--model").partition(" ")[0]
        chosen = " ".join(f"{name} {value}" for name, value in options.items() if name != "--resolution")
        each = len(packed.getbuffer()) / len(table)
        yield (
            f"{manifest['settings']['results']} {chosen}, {model}".replace(" ,", ","),
            f"{sum(part['recordings'] for part in parts):,}",
            f"{hours:.2f}",
            f"{len(table) / hours:,.0f}",
            f"{size / len(table):.1f}",
            f"{each:.1f}",
            f"{len(table) / hours * HOURS * each / 1e9:,.0f}",
        )


def losses(rates: Sequence[Rate]) -> Iterator[tuple[str, ...]]:
    """Work lost with a machine: on average half a share per worker."""
    from sedkit.cluster.archive import LARGEST

    count, size = LARGEST
    yield "share", "hours of audio", "minutes of work", f"work repeated if {LOST:.0%} of machines are lost per hour"
    shares = {f"1 GiB of {name}": size / each for name, each in FORMATS.items()}
    shares |= {f"{count} recordings of 5 s": count * 5 / 3600, f"{count} recordings of 5 minutes": count / 12}
    speed = min(rate.speed for rate in rates)
    for name, hours in shares.items():
        work = hours / speed
        yield name, f"{hours:.1f}", f"{work * 60:.1f}", f"{LOST * work / 2:.2%}"


def planning() -> Iterator[tuple[str, ...]]:
    """Memory and time that the plan takes, measured now."""
    from sedkit.cluster.archive import PLAN, Archive
    from sedkit.cluster.recordings import Recording
    from sedkit.cluster.storage import Store

    names = (f"s3://archive/{number // 1000:06}/{number:09}.flac" for number in range(PLANNED))
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Store(folder), {}, resume=False)
        tracemalloc.start()
        archive.plan([Recording(name, 5_000_000, 1_700_000_000_000_000_000) for name in names], "/", CPUS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        start = time.perf_counter()
        Archive(Store(folder), {}, resume=True)
        taken = time.perf_counter() - start
        size = (Path(folder) / PLAN).stat().st_size
    yield "per million recordings", ""
    yield "peak memory of the driver", f"{peak / PLANNED * 1e6 / 1e9:.1f} GB"
    yield "plan.parquet", f"{size / PLANNED * 1e6 / 1e6:.0f} MB"
    yield "reading the plan on --resume", f"{taken / PLANNED * 1e6:.0f} s"


def markdown(rows: Iterator[tuple[str, ...]]) -> list[str]:
    head, *body = rows
    lines = ["| " + " | ".join(row) + " |" for row in (head, *body)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]


def figures(results: Mapping[str, Any], archives: Sequence[Path]) -> str:
    """The generated part of docs/scale.md."""
    speeds = list(rates(results))
    if not speeds:
        raise SystemExit("the results lack benchmarks 4 and 8; run: python -m benchmarks --only 4,8")
    lines = [*conditions(dict(results))]
    if results["warning"]:
        lines.append(f"**Unreliable:** {results['warning']}.")
    parts = {
        "Compute": compute(speeds),
        "Audio and network": network(speeds),
        "Results": output(archives),
        "Lost machines": losses(speeds),
        "The driver": planning(),
    }
    for title, rows in parts.items():
        lines += ["", f"### {title}", "", *markdown(rows)]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m benchmarks.scale RESULTS.json ARCHIVE...")
    measured = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    write(PAGE, figures(measured, [Path(name) for name in sys.argv[2:]]), MARKS)
