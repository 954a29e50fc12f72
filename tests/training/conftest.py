"""Fixtures and helpers for tests that train: a small synthetic data set, a finished run, and ways to start runs."""

from __future__ import annotations

import fcntl
import json
import math
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from sedkit.geometry import SAMPLE_RATE
from tests.training.processes import training, wait_for
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.loop.settings import Execution
from training.runs.experiments.crossval import main as crossval
from training.runs.run import Run
from training.runtime.checkpoint import load
from training.runtime.deadline import Deadline
from training.runtime.lock import Lock
from training.runtime.progress import CascadeProgress
from training.secost import main, secost

SMALL = [  # options of a training that takes seconds
    "--width",
    "0.0625",
    "--crop",
    "1",
    "--batch-size",
    "8",
    "--epochs",
    "3",
    "--device",
    "cpu",
    "--set",
    "dropout=0",
    "--export",
    "last",
    "--set",
    "students=random",
]

torch.set_num_threads(1)  # faster for networks this small, and results do not depend on the machine


def tone(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * random.uniform(300, 900) * time)


def noise(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    return 0.1 * random.standard_normal(len(time))


def clicks(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    return 0.8 * ((time * random.uniform(4, 9)) % 1 < 0.01)


SOUNDS: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "clicks": clicks,
    "noise": noise,
    "tone": tone,
}


@contextmanager
def made_once(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """A folder that all test processes share, and whether this process is the first and must fill it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        first = not (folder / "complete").exists()
        folder.mkdir(exist_ok=True)
        yield folder, first
        (folder / "complete").touch()


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a manifest of 36 clips of 2 s and 3 classes: 24 for training, 6 for validation, 6 for testing."""
    with made_once("small", tmp_path_factory) as (folder, first):
        path = folder / "manifest.csv"
        if first:
            write_small_manifest(path)
    return path


def write_small_manifest(path: Path) -> None:
    """Write the clips of ``small_manifest`` and the manifest itself, at ``path``."""
    random = np.random.default_rng(0)
    rows = []
    for name, sound in SOUNDS.items():
        for take in range(12):
            time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
            soundfile.write(path.with_name(f"{name}-{take}.wav"), sound(random, time), SAMPLE_RATE)
            split = "train" if take < 8 else "validation" if take < 10 else "test"
            rows.append(Row(f"{name}-{take}.wav", labels=name, split=split, license="CC0"))
    Manifest.from_rows(rows, Vocabulary.of(SOUNDS), path.parent).save(path)


def run_secost(*arguments: str | Path) -> str:
    """Run ``sedkit-train secost`` in this process; returns its output."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def start_run(manifest: Path, directory: Path, *arguments: str) -> None:
    """Start a run with ``SMALL`` and ``arguments``, and stop it after its first batch."""
    output = run_secost("--manifest", manifest, "--run", directory, *SMALL, *arguments, "--stop-after", "0s")
    assert f"stopped in time; resume with: sedkit-train secost --resume {directory}" in output


def untrained_run(manifest: Path, directory: Path, *arguments: str) -> Run:
    """A run that is started but has trained nothing."""
    start_run(manifest, directory, *arguments)
    shutil.rmtree(directory / "generation-0")
    return Run.open(directory)


def continue_run(directory: Path, seconds: float = math.inf, **execution: Any) -> None:
    """Train the rest of a started run. It is not exported, because the export takes longer than the training."""
    run = Run.open(directory)
    with Lock(directory), CascadeProgress(len(run.supervision), run.settings.epochs) as progress:
        run.sweep()
        secost(run, Execution(torch.device("cpu"), **execution), progress, Deadline(seconds))


@contextmanager
def full_disk(largest: int) -> Iterator[None]:
    """Within the block, no file can grow beyond ``largest`` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def weights(run: Path, generation: int) -> dict[str, torch.Tensor]:
    """The weights of a finished generation."""
    return load(run / f"generation-{generation}" / "network.pt")["network"]


def metrics(run: Path, generation: int, name: str = "loss") -> list[float]:
    """One column of a generation's ``metrics.jsonl``: a value for each epoch."""
    lines = (run / f"generation-{generation}" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[name] for line in lines]


@pytest.fixture(scope="session")
def run(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two stages on the small data set. Tests must not change it.

    It was killed once during its export, and resumed. It is made once for all test processes, because the export takes
    ten seconds.
    """
    with made_once("runs", tmp_path_factory) as (folder, first):
        directory = folder / "run"
        if first:
            train_and_export(small_manifest, directory)
    return directory


def train_and_export(manifest: Path, directory: Path) -> None:
    """Train the run of the fixture ``run``, kill it during its export, and resume it."""
    arguments = ["--manifest", manifest, "--run", directory, "--stages", "2", *SMALL, "--set", "license=CC0-1.0"]
    process = training(*arguments, log=directory.with_name("log"))
    wait_for((directory / "report.md").exists, process)
    process.kill()
    process.join()
    assert not (directory / "model.onnx").exists()
    assert str(directory / "model.onnx") in run_secost("--resume", directory, "--device", "cpu")


def write_folds_of(small_manifest: Path, folder: Path) -> list[Path]:
    """Write ``a.csv`` and ``b.csv``: two folds that test a third of the small data set each, in groups of two clips."""
    whole = Manifest.load(small_manifest)
    takes = [int(Path(path).stem.split("-")[1]) for path in whole.paths]
    groups = [f"{Path(path).stem.split('-')[0]}:{take // 2}" for path, take in zip(whole.paths, takes, strict=True)]
    paths = []
    for fold in (0, 1):
        splits = ["test" if take // 4 == fold else "validation" if take // 2 == 4 else "train" for take in takes]
        rows = [
            row._replace(split=split, group=group)
            for row, split, group in zip(whole.rows(), splits, groups, strict=True)
        ]
        paths.append(folder / f"{'ab'[fold]}.csv")
        Manifest.from_rows(rows, whole.vocabulary, folder).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def cross_validation(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation ``cv`` of two folds and one student, with ``a.csv`` and ``b.csv`` beside it. Do not change it.

    The command started the first fold. Both are trained, but not exported. It is made once for all test processes.
    """
    with made_once("crossval", tmp_path_factory) as (folder, first):
        if first:
            train_folds(small_manifest, folder)
    return folder / "cv"


def train_folds(manifest: Path, folder: Path) -> None:
    """Make the cross-validation of the fixture ``cross_validation``."""
    one, two = write_folds_of(manifest, folder)
    command = ["--manifest", one, "--manifest", two, "--run", folder / "cv", "--stages", "1", *SMALL]
    result = CliRunner().invoke(crossval, [str(argument) for argument in [*command, "--stop-after", "0s"]])
    assert result.exit_code == 0, result.output
    assert "stopped in time; give the same command again to continue" in result.stderr
    assert (folder / "cv" / "fold-1" / "config.json").exists()
    assert not (folder / "cv" / "fold-2").exists()
    start_run(two, folder / "cv" / "fold-2", "--stages", "1")
    for fold in ("fold-1", "fold-2"):
        continue_run(folder / "cv" / fold)


def copy_cross_validation(cv: Path, place: Path) -> Path:
    """Copy a cross-validation and the manifests beside it to ``place``; returns the copy."""
    return shutil.copytree(cv.parent, place, dirs_exist_ok=True) / cv.name
