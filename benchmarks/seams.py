"""(9) Seams: scores of a recording streamed in random blocks, against one pass over the whole recording.

``Model.segments`` computes the blocks and joins the scores. The reference is a single run of the graph on one thread.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Row, Setup, at_most
from benchmarks.networks import full_width
from sedkit.geometry import SAMPLE_RATE
from sedkit.inference.model import Model

GOAL = at_most(1e-6)
LENGTHS = (0.01, 180.0)  # range in seconds; drawn log-uniformly
BLOCKS = (1, 20 * SAMPLE_RATE)  # range in samples; drawn log-uniformly


def measure(setup: Setup) -> Iterator[Row]:
    models = full_width(setup)
    random = np.random.default_rng()
    shortest, longest = LENGTHS[0], 40.0 if setup.quick else LENGTHS[1]
    lengths = [longest, *log_uniform(random, shortest, longest, setup.repeats - 1)]
    for precision, path in (("fp32", models.fp32), ("int8", models.int8)):
        whole = Model(path, "cpu", threads=1)
        streams = {threads: Model(path, "cpu", threads=threads) for threads in sorted({1, 2, 3, setup.threads})}
        differences: dict[str, float] = {}
        for length in lengths:
            waveform = setup.recordings.samples(length)
            expected = whole.batch(waveform[None])[0]
            for threads, model in streams.items():
                scores = np.concatenate(list(model.segments(blocks(waveform, random))))
                if scores.shape != expected.shape:
                    raise RuntimeError(f"{len(waveform)} samples: {scores.shape} in blocks, {expected.shape} at once")
                case = f"{len(waveform)} samples, {threads} threads"
                differences[case] = float(np.abs(scores - expected).max())
        yield Row(
            9,
            f"largest score difference, random blocks vs one pass, {precision}",
            list(differences.values()),
            unit="",
            figure=f"{len(differences)} cases, {sum(value == 0 for value in differences.values())} bit-equal, "
            f"up to {longest:g} s, threads {', '.join(map(str, streams))}",
            goal=GOAL,
            summary="largest",
            details={"differences": differences},
        )


def blocks(waveform: NDArray[np.float32], random: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Split a recording into blocks of random length."""
    start = 0
    while start < len(waveform):
        length = round(log_uniform(random, *BLOCKS, 1)[0])
        yield waveform[start : start + length]
        start += length


def log_uniform(random: np.random.Generator, low: float, high: float, count: int) -> list[float]:
    return [float(value) for value in np.exp(random.uniform(np.log(low), np.log(high), count))]
