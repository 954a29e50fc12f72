"""(6) Cold start: the process ``sedkit tag`` on one short file, against a process that only imports ONNX Runtime.

All files are in the disk cache, and sedkit finds the optimised graph of an earlier start in a cache folder of this run.
The JSON file also has the time of the very first start, which has no optimised graph.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Row, Setup, at_most, race, ratios, seconds
from benchmarks.networks import full_width
from benchmarks.processes import SEDKIT, run

GOAL = at_most(1.7)
PAIRS = 5  # rounds in place of one: the times of so short processes vary by half
SECONDS = 10.0
IMPORT = "import onnxruntime"
LIBROSA = """
import sys, librosa
samples, rate = librosa.load(sys.argv[1], sr=16000)
librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate, n_fft=512, hop_length=160, n_mels=64))
"""


def measure(setup: Setup) -> Iterator[Row]:
    models = full_width(setup)

    def process(*command: str | Path) -> Callable[[Path], object]:
        return lambda wav: run([*command, wav])

    tags = {
        f"{models.name}, int8": process(*SEDKIT, "tag", "--model", models.int8),
        "default model": process(*SEDKIT, "tag"),
    }

    def wavs(count: int) -> Iterator[Path]:
        path = setup.scratch / "cold.wav"
        return (setup.recordings.write_wav(path, SECONDS) for _ in range(count))

    (warm_up,) = wavs(1)
    first = {}
    for name, tag in tags.items():
        start = perf_counter()
        tag(warm_up)
        first[name] = perf_counter() - start
    rounds = race(tags | {"import": process(sys.executable, "-c", IMPORT)}, wavs(PAIRS * setup.repeats), warm_up)
    for name in tags:
        own = seconds(rounds, name)
        yield Row(
            6,
            f"sedkit tag, {name}, {SECONDS:g} s wav / {IMPORT}",
            ratios(rounds, name, "import"),
            figure=f"{1e3 * own:.0f} / {1e3 * seconds(rounds, 'import'):.0f} ms",
            goal=GOAL,
            details={"seconds": own, "first_start_seconds": first[name]},
        )
    name = "default model"
    librosa = {"librosa": process(sys.executable, "-c", LIBROSA), name: tags[name]}
    rounds = race(librosa, wavs(setup.repeats), warm_up)
    yield Row(
        6,
        f"log-mel with librosa / sedkit tag, {name}",
        ratios(rounds, "librosa", name),
        figure=f"{1e3 * seconds(rounds, 'librosa'):.0f} / {1e3 * seconds(rounds, name):.0f} ms",
    )
