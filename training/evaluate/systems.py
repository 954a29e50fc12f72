"""The systems that a cross-validation compares, and what each says of the clips of every test fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from training.clips import FULL_SCALE, Some
from training.crossval import CrossValidationError, read
from training.data.manifest import Manifest
from training.data.source import Audio
from training.generations import trained_network
from training.peers import class_names, clip_scores, mapped
from training.regression import regression
from training.run import Run, read_config, read_supervision
from training.scores import predict

Scores = NDArray[np.float32]
STRENGTH = 30.0  # of the regularisation of a peer's regression


@dataclass(frozen=True)
class Fold:
    """A finished fold and what it is tested on.

    Attributes
    ----------
    rows : [clips], of the run's manifest.
    targets : [clips, classes], 0 or 1.
    groups : [clips], the recording that each is of.
    """

    name: str
    run: Run
    rows: NDArray[np.int64]
    targets: NDArray[np.float32]
    groups: list[str]


@dataclass(frozen=True)
class System:
    """Something that scores clips: ``scores`` [clips, classes] of each fold's test clips."""

    name: str
    scores: list[Scores]


def open_folds(directory: Path, group: str = "") -> tuple[list[Fold], list[str]]:
    """The finished folds of a cross-validation, and the names of the others.

    ``group``: what the groups of the clips to test on begin with.

    Raises
    ------
    CrossValidationError, RunError, ManifestError
        If there is none, or its data cannot be read.
    """
    folds, missing = [], []
    for name, manifest in read(directory)["folds"].items():
        place = directory / f"fold-{name}"
        if not _finished(place):
            missing.append(name)
            continue
        run = Run.open(place, str(directory / manifest))
        rows = run.manifest.indices("test")
        groups = _groups(run.manifest.take(rows))
        chosen = [number for number, name in enumerate(groups) if name.startswith(group)]
        if not chosen:
            of = f" of a group that begins with {group!r}" if group else ""
            raise CrossValidationError(f"{directory / manifest}: no clip of the split 'test'{of}")
        if folds and run.labels != folds[0].run.labels:
            raise CrossValidationError(f"{directory / manifest}: other classes than in fold {folds[0].name}")
        rows = rows[chosen]
        folds.append(Fold(name, run, rows, run.manifest.targets(rows), [groups[number] for number in chosen]))
    return folds, missing


def cascade(folds: list[Fold], device: torch.device) -> list[System]:
    """Teacher-0 and every student, each fold's own."""
    generations = len(folds[0].run.supervision)
    names = ["Teacher-0", *(f"Student {stage}" for stage in range(1, generations))]
    systems = [System(name, []) for name in names]
    with progress("scoring", generations * len(folds)) as step:
        for fold in folds:
            waveforms = Some(fold.run.audio, fold.rows)
            for generation, system in enumerate(systems):
                network = trained_network(fold.run, generation, device)
                system.scores.append(predict(network, waveforms, fold.run.settings.batch_size, workers=2))
                step(1)
    return systems


def yamnet(model: Path, folds: list[Fold], cache: Path) -> list[System]:
    """YAMNet as it is, its classes mapped to ours, and a regression on its features, fitted on the other folds.

    ``cache``: where its scores are kept (``training.peers.clip_scores``).

    Raises
    ------
    PeerError
        If the model cannot be run.
    """
    names, labels = class_names(model), folds[0].run.labels
    known = len({label.name for label in names} & {label.name for label in labels})
    as_it_is = System("YAMNet, as it is" + (f" ({known} of {len(labels)} classes)" if known < len(labels) else ""), [])
    mapping = System("YAMNet, logistic regression on its features", [])
    for fold in folds:
        manifest = fold.run.manifest
        with progress("YAMNet", len(manifest)) as step:
            said = clip_scores(model, clip_names(manifest), partial(_waveform, fold.run.audio), cache, step)
        learnt = np.concatenate([manifest.labelled("train"), manifest.indices("validation")])
        as_it_is.scores.append(mapped(said.scores[fold.rows], names, labels))
        predict_clips = regression(said.features[learnt].astype(np.float64), manifest.targets(learnt), STRENGTH)
        mapping.scores.append(predict_clips(said.features[fold.rows]).astype(np.float32))
    return [as_it_is, mapping]


def clip_names(manifest: Manifest) -> list[str]:
    """A name for every clip: its file, and where it lies in that if it is a part."""
    parts = zip(manifest.names(), manifest.starts.tolist(), manifest.durations.tolist(), strict=True)
    return [name if start == 0 and math.isnan(length) else f"{name} {start} {length}" for name, start, length in parts]


@contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, on a terminal; what is yielded takes the steps done since the last call."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda done: bar.advance(task, done)


def _waveform(audio: Audio, row: int) -> NDArray[np.float32]:
    return audio[row] / np.float32(FULL_SCALE)


def _finished(run: Path) -> bool:
    if not (run / "config.json").exists():
        return False
    generations = len(read_supervision(read_config(run)))
    return all((run / f"generation-{number}" / "network.pt").exists() for number in range(generations))


def _groups(manifest: Manifest) -> list[str]:
    return [group or name for group, name in zip(manifest.groups, manifest.names(), strict=True)]
