"""(7) Peak memory of ``sedkit tag`` for recordings of several lengths and rates, from files and through a pipe.

The case "first start" (10 s) has no optimised graph in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, Setup, at_most
from benchmarks.networks import full_width
from benchmarks.processes import peak_memory

GOALS = {"fp32": at_most(450), "int8": at_most(200)}  # MB
LENGTHS = {"10 s": 10.0, "10 min": 600.0, "1 h": 3600.0, "10 h": 36000.0}  # seconds
QUICK = {"1 s": 1.0, "10 s": 10.0}


def measure(setup: Setup) -> Iterator[Row]:
    models = full_width(setup)
    for precision, model in (("int8", models.int8), ("fp32", models.fp32)):
        peaks = dict(cases(model, setup))
        yield Row(
            7,
            f"peak memory of sedkit tag, {models.name}, {precision}",
            list(peaks.values()),
            unit="MB",
            figure=", ".join(f"{name}: {peak:.0f}" for name, peak in peaks.items()),
            goal=GOALS[precision],
            summary="largest",
            details={"peaks": peaks},
        )


def cases(model: Path, setup: Setup) -> Iterator[tuple[str, float]]:
    """Yield the name and the peak in MB of every case."""
    command: list[str | Path] = ["tag", "--model", model, "--device", "cpu"]
    recordings, wav = setup.recordings, setup.scratch / "memory.wav"
    lengths = QUICK if setup.quick else LENGTHS
    yield "first start", peak_memory([*command, recordings.write_wav(wav, 10)])
    for name, length in lengths.items():
        yield name, peak_memory([*command, recordings.write_wav(wav, length)])
    name, length = list(lengths.items())[1]
    yield f"{name} at 192 kHz", peak_memory([*command, recordings.write_wav(wav, length, 192_000)])
    sound = recordings.write_wav(wav, length).read_bytes()
    yield f"{name} through a pipe", peak_memory([*command, "-"], sound)
