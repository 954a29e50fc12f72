"""Scores of every system that a cross-validation compares, on the test clips of every fold.

Systems are Teacher-0, every student, YAMNet, a logistic regression on YAMNet's features, and the last networks of other
cross-validations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from sedkit.contract import Label
from training.data.audio import FULL_SCALE
from training.data.clips import Subset
from training.data.manifest.naming import clip_names, recordings
from training.data.manifest.table import Manifest
from training.networks.predict import predict
from training.networks.yamnet_tflite import class_names, clip_scores, is_cached, match_classes
from training.runs.config import read_config, read_supervision
from training.runs.experiments.crossval import CrossValidationError, read
from training.runs.generations import trained_network
from training.runs.run import Run
from training.runs.split_scores import NAME as SCORES
from training.runs.split_scores import read_split_scores
from training.supervision.regression import fit_regression

Scores = NDArray[np.float32]
UNTRAINED = "YAMNet, as it is"
REGULARISATION = 30.0  # strength of the L2 penalty of the logistic regression on YAMNet's features


@dataclass(frozen=True)
class Fold:
    """A finished fold and its test clips.

    Attributes
    ----------
    directory : directory of the run.
    path : path of the manifest.
    rows : [clips], rows of the test clips in the manifest.
    targets : [clips, classes], 0 or 1.
    groups : [clips], the recording of each clip.
    """

    name: str
    directory: Path
    path: Path
    manifest: Manifest
    rows: NDArray[np.int64]
    targets: NDArray[np.float32]
    groups: list[str]

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.manifest.vocabulary.labels

    @cached_property
    def run(self) -> Run:
        """The run with its audio, which is decoded if the cache lacks it."""
        return Run.open(self.directory, str(self.path))

    def waveform(self, row: int) -> NDArray[np.float32]:
        """Samples of one clip of the manifest, [samples] float32 in [-1, 1]."""
        return (self.run.audio[row] / np.float32(FULL_SCALE)).astype(np.float32)


@dataclass(frozen=True)
class System:
    """A system under comparison. ``scores``: one [clips, classes] array per fold, of its test clips."""

    name: str
    scores: list[Scores]


@dataclass(frozen=True)
class CrossvalScores:
    """A cross-validation: its finished folds and the scores of all systems.

    Attributes
    ----------
    folds : the finished folds, at least one.
    missing : names of the unfinished folds.
    networks : Teacher-0 and every student.
    peers : YAMNet, if scored, and networks of other cross-validations.
    """

    folds: list[Fold]
    missing: list[str]
    networks: list[System]
    peers: list[System]

    def among(self, group: str) -> CrossvalScores:
        """The same for the test clips whose group starts with ``group``.

        Raises
        ------
        CrossValidationError
            If a fold has no such clip.
        """
        chosen = [[number for number, name in enumerate(fold.groups) if name.startswith(group)] for fold in self.folds]
        for fold, rows in zip(self.folds, chosen, strict=True):
            if not rows:
                raise CrossValidationError(
                    f"{fold.path}: no test clip in a group that starts with {group!r}: check --group"
                )
        return replace(
            self,
            folds=[_fold_subset(*pair) for pair in zip(self.folds, chosen, strict=True)],
            networks=[_system_subset(system, chosen) for system in self.networks],
            peers=[_system_subset(system, chosen) for system in self.peers],
        )


def read_crossval_scores(directory: Path, device: torch.device, peer: Path | None = None) -> CrossvalScores:
    """Scores of a cross-validation's networks, and of YAMNet, on its test clips.

    Scores that the runs stored (``training.runs.split_scores``) are read; checkpoints and audio are needed only where
    they are missing. YAMNet scores the clips if its TFLite file is given as ``peer``. Without it,
    ``directory/yamnet.npz`` is used if it holds the scores of all clips.

    Raises
    ------
    SedkitError
        If no fold is finished, or data, scores or the peer cannot be read.
    """
    folds, missing = open_folds(directory)
    if not folds:
        raise CrossValidationError(f"{directory}: no fold is finished: continue with sedkit-train crossval")
    return CrossvalScores(folds, missing, cascade(folds, device), yamnet(peer, folds, directory / "yamnet.npz"))


def with_other_crossval(results: CrossvalScores, directory: Path, device: torch.device) -> CrossvalScores:
    """``results`` with the last networks of another cross-validation over the same folds, named after its directory.

    Raises
    ------
    CrossValidationError
        If its folds are unfinished, or have other test clips or classes.
    """
    folds, _ = open_folds(directory)
    if [_test_set(fold) for fold in folds] != [_test_set(fold) for fold in results.folds]:
        raise CrossValidationError(
            f"{directory}: its finished folds have other test clips or classes: name a cross-validation over the same "
            "folds"
        )
    name = directory.resolve().name
    if name in [system.name for system in (*results.networks, *results.peers)]:
        raise CrossValidationError(f"{directory}: another system is called {name!r}: rename the directory")
    return replace(results, peers=[*results.peers, System(name, cascade(folds, device)[-1].scores)])


def with_ensemble(results: CrossvalScores) -> CrossvalScores:
    """``results`` with an ensemble: the mean score of the last network and of every trained peer.

    Raises
    ------
    CrossValidationError
        If there is no trained peer.
    """
    systems = [results.networks[-1], *(peer for peer in results.peers if not peer.name.startswith(UNTRAINED))]
    if len(systems) == 1:
        raise CrossValidationError("--together: nothing to average with the last network: add --beside or --peer")
    scores = [np.mean(of_fold, axis=0) for of_fold in zip(*(system.scores for system in systems), strict=True)]
    return replace(results, peers=[*results.peers, System("together", scores)])


def _test_set(fold: Fold) -> tuple[str, tuple[Label, ...], list[str]]:
    return fold.name, fold.labels, clip_names(fold.manifest.take(fold.rows))


def open_folds(directory: Path) -> tuple[list[Fold], list[str]]:
    """The finished folds of a cross-validation, and the names of the unfinished ones.

    Raises
    ------
    CrossValidationError, RunError, ManifestError
        If ``directory`` is not a cross-validation, or its data cannot be read.
    """
    folds: list[Fold] = []
    missing = []
    for name, manifest_path in read(directory)["folds"].items():
        run, path = directory / f"fold-{name}", directory / manifest_path
        if not _finished(run):
            missing.append(name)
            continue
        manifest = _manifest(run, path)
        rows = manifest.indices("test")
        if not len(rows):
            raise CrossValidationError(f"{path}: no clip in the split 'test': a fold needs test clips")
        folds.append(Fold(name, run, path, manifest, rows, manifest.targets(rows), recordings(manifest.take(rows))))
        if folds[-1].labels != folds[0].labels:
            raise CrossValidationError(
                f"{path}: other classes than fold {folds[0].name}: use one vocabulary for all folds"
            )
    return folds, missing


def cascade(folds: list[Fold], device: torch.device) -> list[System]:
    """Teacher-0 and every student; each fold's test clips are scored by that fold's networks."""
    generations = len(read_supervision(read_config(folds[0].directory)))
    names = ["Teacher-0", *(f"Student {stage}" for stage in range(1, generations))]
    systems = [System(name, []) for name in names]
    with progress("scoring", generations * len(folds)) as step:
        for fold in folds:
            for generation, system in enumerate(systems):
                system.scores.append(_test_scores(fold, generation, device))
                step(1)
    return systems


def yamnet(model: Path | None, folds: list[Fold], cache: Path) -> list[System]:
    """YAMNet with its classes matched by name, and a logistic regression on its features.

    The regression of a fold is fitted on that fold's training and validation clips. ``cache``: file of YAMNet's scores
    and features (``training.networks.yamnet_tflite.clip_scores``). Without ``model``, only the regression is returned,
    and only if the cache holds all clips.

    Raises
    ------
    PeerError
        If the model cannot be run, or the cache is damaged.
    """
    if model is None and not all(is_cached(cache, clip_names(fold.manifest)) for fold in folds):
        return []
    fitted = System("YAMNet, logistic regression on its features", [])
    systems, names, labels = [fitted], class_names(model) if model else (), folds[0].labels
    if names:
        known = len({label.name for label in names} & {label.name for label in labels})
        suffix = f" ({known} of {len(labels)} classes)" if known < len(labels) else ""
        systems.insert(0, System(f"{UNTRAINED}{suffix}", []))
    for fold in folds:
        manifest = fold.manifest
        with progress("YAMNet", len(manifest)) as step:
            output = clip_scores(model, clip_names(manifest), fold.waveform, cache, step)
        if names:
            systems[0].scores.append(match_classes(output.scores[fold.rows], names, labels))
        rows = np.concatenate([manifest.labelled("train"), manifest.indices("validation")])
        predict_clips = fit_regression(output.features[rows].astype(np.float64), manifest.targets(rows), REGULARISATION)
        fitted.scores.append(predict_clips(output.features[fold.rows].astype(np.float64)).astype(np.float32))
    return systems


@contextmanager
def progress(label: str, steps: int) -> Iterator[Callable[[int], None]]:
    """Progress bar on standard error, if that is a terminal. Yields a function that takes the number of new steps."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=steps)
        yield lambda done: bar.advance(task, done)


def _test_scores(fold: Fold, generation: int, device: torch.device) -> Scores:
    """A generation's scores of the test clips: read if the run stored them, otherwise computed."""
    stored = read_split_scores(fold.directory / f"generation-{generation}", "test", fold.targets.shape)
    if stored is not None:
        return stored
    run = fold.run
    network = trained_network(run.generation(generation), run.settings, len(run.labels), device)
    return predict(network, Subset(fold.run.audio, fold.rows), fold.run.settings.batch_size, workers=2)


def _finished(run: Path) -> bool:
    if not (run / "config.json").exists():
        return False
    generations = (run / f"generation-{number}" for number in range(len(read_supervision(read_config(run)))))
    return all(any((one / name).exists() for name in ("network.pt", SCORES)) for one in generations)


def _manifest(run: Path, path: Path) -> Manifest:
    """The manifest as the run used it.

    A run may leave out clips that cannot be decoded. If the hash differs for that reason, the audio is opened to find
    those clips again.
    """
    config = read_config(run)
    manifest = Manifest.load(path, None, config.get("on_error", "stop"))
    return manifest if manifest.sha256() == config.get("manifest_sha256") else Run.open(run, str(path)).manifest


def _fold_subset(fold: Fold, rows: list[int]) -> Fold:
    return replace(fold, rows=fold.rows[rows], targets=fold.targets[rows], groups=[fold.groups[row] for row in rows])


def _system_subset(system: System, chosen: list[list[int]]) -> System:
    return System(system.name, [scores[rows] for scores, rows in zip(system.scores, chosen, strict=True)])
