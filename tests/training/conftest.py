"""A small data set made by code: tones, noise and clicks, two seconds a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from sedkit.geometry import SAMPLE_RATE
from training.data import Manifest, Vocabulary
from training.data.rows import Row
from training.secost import main

SMALL = ["--width", "0.0625", "--crop", "1", "--batch-size", "8", "--epochs", "3", "--device", "cpu", "--dropout", "0"]

torch.set_num_threads(1)  # networks this small lose time to more; results do not change with the machine


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


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a manifest of 36 clips of 3 classes: 24 to train on, 6 to validate, 6 to test."""
    folder = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(0)
    rows = []
    for name, sound in SOUNDS.items():
        for take in range(12):
            time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
            soundfile.write(folder / f"{name}-{take}.wav", sound(random, time), SAMPLE_RATE)
            split = "train" if take < 8 else "validation" if take < 10 else "test"
            rows.append(Row(f"{name}-{take}.wav", labels=name, split=split, license="CC0"))
    path = folder / "manifest.csv"
    Manifest.from_rows(rows, Vocabulary.of(SOUNDS), folder).save(path)
    return path


def train(*arguments: str | Path) -> str:
    """``python -m training.secost`` with these arguments, in this process; what it said."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


@pytest.fixture(scope="session")
def run(small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two stages on the small data set."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    train("--manifest", small_manifest, "--run", directory, "--stages", "2", *SMALL, "--license", "CC0-1.0")
    return directory
