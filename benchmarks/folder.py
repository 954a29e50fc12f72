"""(8) Many short files: ``sedkit tag`` on 2,000 Ogg files of 5 s, against a plain loop.

The loop is what a user would write by hand: one process reads each file with soundfile, runs the same graph with ONNX
Runtime's default threads and prints the best tags. It does not validate, stream, resample or recover from errors.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness import Row, Setup, race, ratios, seconds
from benchmarks.networks import default_model, small_model
from benchmarks.processes import SEDKIT, run

FILES, SECONDS = 2000, 5.0
LOOP = """
import sys, numpy, onnxruntime, soundfile
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
for path in sys.argv[2:]:
    samples, _ = soundfile.read(path, dtype="float32")
    scores = session.run(["clip"], {"waveform": samples[None]})[0][0]
    best = numpy.argsort(-scores)[:5]
    print(path, best, scores[best], sep="\\t")
"""


def measure(setup: Setup) -> Iterator[Row]:
    count = 30 if setup.quick else FILES
    files = setup.recordings.short_files(count, setup.scratch / "oggs")
    models = {networks.name: networks.int8 for networks in (small_model(setup), default_model(setup))}
    for name, model in models.items():
        contenders = {
            "sedkit": lambda paths, model=model: run([*SEDKIT, "tag", "--model", model, "--format", "tsv", *paths]),
            "loop": lambda paths, model=model: run([sys.executable, "-c", LOOP, model, *paths]),
        }
        turns: Iterator[Sequence[Path]] = (files for _ in range(setup.repeats))
        rounds = race(contenders, turns, warm_up=files[:10])
        own, loop = seconds(rounds, "sedkit"), seconds(rounds, "loop")
        yield Row(
            8,
            f"plain loop / sedkit tag, {count:,} oggs of {SECONDS:g} s, {name}, int8",
            ratios(rounds, "loop", "sedkit"),
            figure=f"{count / loop:.0f} → {count / own:.0f} files/s",
            details={"files": count, "files_per_second": count / own, "loop_files_per_second": count / loop},
        )
