"""``kill -9`` at random moments of a training and of packing: what is resumed ends with the same files, bit by bit."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from tests.training.conftest import SMALL, metrics, weights
from tests.training.processes import background, training
from training.data.manifest.table import Manifest
from training.data.store.pack import Packing, pack

EXPORT = ("onnx", "onnxscript")  # packages without which a run ends after its training, with exit code 1


def killed_until_done(start: Callable[[], BaseProcess], longest: float, draw: random.Random, code: int = 0) -> int:
    """Start a process again and again, kill it at random moments until one ends by itself; returns the kills."""
    kills = 0
    while True:
        process = start()
        process.join(draw.uniform(0, longest))
        if not process.is_alive():
            assert process.exitcode == code
            return kills
        process.kill()
        process.join()
        kills += 1


def contents(directory: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_training_killed_at_100_random_moments(small_manifest: Path, tmp_path: Path) -> None:
    """Most of the time of so small a run is its export, which is left out; the fixture ``run`` is killed during it."""

    def start(directory: Path) -> BaseProcess:
        begun = (directory / "config.json").exists()
        new = ["--manifest", small_manifest, "--run", directory, "--stages", "2", *SMALL]
        given = ["--resume", directory, "--device", "cpu"] if begun else new
        return training(*given, log=tmp_path / "log", chunk=2, without=EXPORT)

    whole = tmp_path / "whole"
    start(tmp_path / "first").join()  # of all, which takes longer
    started = time.monotonic()
    start(whole).join()
    seconds = time.monotonic() - started
    draw, kills, runs = random.Random(0), 0, 0
    while kills < 100:
        runs += 1
        directory = tmp_path / f"killed-{runs}"
        kills += killed_until_done(partial(start, directory), 1.2 * seconds, draw, code=1)
        for generation in range(3):
            assert metrics(directory, generation) == metrics(whole, generation)
            one, other = (weights(place, generation) for place in (directory, whole))
            assert all(torch.equal(value, one[name]) for name, value in other.items())
        assert (directory / "report.md").read_text() == (whole / "report.md").read_text()
        assert not list(directory.rglob(".*.tmp"))


@pytest.mark.parametrize("kills", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_packing_killed_at_random_moments(small_manifest: Path, tmp_path: Path, kills: int) -> None:
    packing = Packing(shard_clips=2)
    manifest = Manifest.load(small_manifest)
    background(pack, manifest, tmp_path / "first", packing).join()  # of all, which takes longer
    started = time.monotonic()
    background(pack, manifest, tmp_path / "whole", packing).join()
    seconds = time.monotonic() - started
    draw, killed, runs = random.Random(kills), 0, 0
    while killed < kills:
        runs += 1
        directory = tmp_path / f"killed-{runs}"
        start = partial(background, pack, manifest, directory, packing)
        killed += killed_until_done(start, 1.2 * seconds, draw)
        assert contents(directory) == contents(tmp_path / "whole")
