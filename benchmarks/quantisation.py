"""(2) int8 against fp32: speed, and differences of scores.

Both run as in sedkit (``Model.segments``), on all CPUs and the same recordings. The weights of the full-width network
are random, those of the default and the small model trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Round, Row, Setup, at_least, at_most, race, ratios, seconds
from benchmarks.networks import default_model, full_width, small_model
from sedkit.inference.model import Model

SPEED, DIFFERENCE = at_least(1.8), at_most(0.03)
SECONDS = 60.0


def measure(setup: Setup) -> Iterator[Row]:
    for models in dict.fromkeys((full_width(setup), default_model(setup), small_model(setup))):
        rounds = run(models.fp32, models.int8, setup)
        yield speed(models.name, rounds, 10.0 if setup.quick else SECONDS)
        yield difference(models.name, rounds)


def speed(name: str, rounds: Sequence[Round], length: float) -> Row:
    """How many times faster int8 is, on recordings of `length` seconds."""
    fp32, int8 = seconds(rounds, "fp32"), seconds(rounds, "int8")
    return Row(
        2,
        f"fp32 / int8, {name}",
        ratios(rounds, "fp32", "int8"),
        figure=f"{length / fp32:.0f}x → {length / int8:.0f}x real time",
        goal=SPEED,
        details={"seconds_of_sound": length, "fp32_seconds": fp32, "int8_seconds": int8},
    )


def run(fp32: Path, int8: Path, setup: Setup) -> list[Round]:
    """Time both precisions; the results of the rounds are scores [K, classes]."""
    length = 10.0 if setup.quick else SECONDS
    contenders = {"fp32": scorer(fp32), "int8": scorer(int8)}
    return race(contenders, setup.recordings.many(setup.repeats, length), setup.recordings.samples(length))


def scorer(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    model = Model(path, "cpu")
    classes = len(model.contract.labels)  # attention weights may follow the classes
    return lambda waveform: np.concatenate(list(model.segments([waveform])))[:, :classes]


def difference(name: str, rounds: Sequence[Round]) -> Row:
    """The largest score difference of each round, and of all of them."""
    differences = [np.abs(one["int8"].result - one["fp32"].result) for one in rounds]
    pooled = np.concatenate([part.ravel() for part in differences])
    return Row(
        2,
        f"largest score difference, int8 vs fp32, {name}",
        [float(part.max()) for part in differences],
        unit="",
        figure=f"{pooled.size:,} scores, mean {pooled.mean():.2g}",
        goal=DIFFERENCE,
        summary="largest",
        details={"mean": float(pooled.mean()), "percentile_99.9": float(np.percentile(pooled, 99.9))},
    )
