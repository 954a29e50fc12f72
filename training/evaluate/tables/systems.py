"""The systems that a cross-validation compares, and what each says of the clips of every test fold."""

from __future__ import annotations

import math
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
from training.data.clips import FULL_SCALE, Some
from training.data.manifest.table import Manifest
from training.networks.predict import predict
from training.networks.tflite import cached, class_names, clip_scores, mapped
from training.runs.config import read_config, read_supervision
from training.runs.experiments.crossval import CrossValidationError, read
from training.runs.generations import trained_network
from training.runs.run import Run
from training.runs.split_scores import NAME as SCORES
from training.runs.split_scores import read_split_scores
from training.supervision.regression import regression

Scores = NDArray[np.float32]
AS_IT_IS = "YAMNet, as it is"
STRENGTH = 30.0  # of the regularisation of a peer's regression


@dataclass(frozen=True)
class Fold:
    """A finished fold and what it is tested on.

    Attributes
    ----------
    directory : of its run.
    path : of its manifest.
    rows : [clips], of the manifest.
    targets : [clips, classes], 0 or 1.
    groups : [clips], the recording that each is of.
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
        """With its audio, which is decoded where that was not done."""
        return Run.open(self.directory, str(self.path))

    def waveform(self, row: int) -> NDArray[np.float32]:
        """Samples [samples] of a clip of the manifest, in [-1, 1]."""
        return self.run.audio[row] / np.float32(FULL_SCALE)


@dataclass(frozen=True)
class System:
    """Something that scores clips: ``scores`` [clips, classes] of each fold's test clips."""

    name: str
    scores: list[Scores]


@dataclass(frozen=True)
class Scored:
    """The folds of a cross-validation, and what systems say of their test clips.

    Attributes
    ----------
    folds : those that are finished; at least one.
    missing : names of the others.
    networks : Teacher-0 and every student.
    peers : YAMNet, if it was asked; networks of other cross-validations.
    """

    folds: list[Fold]
    missing: list[str]
    networks: list[System]
    peers: list[System]

    def among(self, group: str) -> Scored:
        """The same of test clips whose groups begin with ``group``.

        Raises
        ------
        CrossValidationError
            If a fold is tested on none.
        """
        chosen = [[number for number, name in enumerate(fold.groups) if name.startswith(group)] for fold in self.folds]
        for fold, rows in zip(self.folds, chosen, strict=True):
            if not rows:
                raise CrossValidationError(
                    f"{fold.path}: no clip of the split 'test' of a group that begins with {group!r}"
                )
        return replace(
            self,
            folds=[_among(*pair) for pair in zip(self.folds, chosen, strict=True)],
            networks=[_said(system, chosen) for system in self.networks],
            peers=[_said(system, chosen) for system in self.peers],
        )


def scored(directory: Path, device: torch.device, peer: Path | None = None) -> Scored:
    """What the networks of a cross-validation, and YAMNet, say of its test clips.

    No network and no audio is needed where the runs kept their scores (``training.runs.split_scores``). YAMNet is asked if
    its TFLite file is given as ``peer``; without it, what ``directory/yamnet.npz`` holds is used if that is complete.

    Raises
    ------
    SedkitError
        If no fold is finished, or its data, its scores or the peer cannot be used.
    """
    folds, missing = open_folds(directory)
    if not folds:
        raise CrossValidationError(f"{directory}: no fold is finished; go on with sedkit-train crossval")
    return Scored(folds, missing, cascade(folds, device), yamnet(peer, folds, directory / "yamnet.npz"))


def beside(found: Scored, directory: Path, device: torch.device) -> Scored:
    """The same with the last networks of another cross-validation over the same folds, under its directory's name.

    Raises
    ------
    CrossValidationError
        If its folds are not finished, or not tested on the same clips of the same classes.
    """
    folds, _ = open_folds(directory)
    if [_tested(fold) for fold in folds] != [_tested(fold) for fold in found.folds]:
        raise CrossValidationError(
            f"{directory}: its finished folds are not tested on the same clips of the same classes"
        )
    name = directory.resolve().name
    if name in [system.name for system in (*found.networks, *found.peers)]:
        raise CrossValidationError(f"{directory}: there is a {name!r} already; give it another name")
    return replace(found, peers=[*found.peers, System(name, cascade(folds, device)[-1].scores)])


def together(found: Scored) -> Scored:
    """The same with the mean of what the last network and those that have learnt beside it say.

    Raises
    ------
    CrossValidationError
        If there are none beside it.
    """
    systems = [found.networks[-1], *(peer for peer in found.peers if not peer.name.startswith(AS_IT_IS))]
    if len(systems) == 1:
        raise CrossValidationError("--together: there is nothing beside the last network; add --beside or --peer")
    scores = [np.mean(said, axis=0) for said in zip(*(system.scores for system in systems), strict=True)]
    return replace(found, peers=[*found.peers, System("together", scores)])


def _tested(fold: Fold) -> tuple[str, tuple[Label, ...], list[str]]:
    return fold.name, fold.labels, clip_names(fold.manifest.take(fold.rows))


def open_folds(directory: Path) -> tuple[list[Fold], list[str]]:
    """The finished folds of a cross-validation, and the names of the others.

    Raises
    ------
    CrossValidationError, RunError, ManifestError
        If there is none, or its data cannot be read.
    """
    folds: list[Fold] = []
    missing = []
    for name, where in read(directory)["folds"].items():
        run, path = directory / f"fold-{name}", directory / where
        if not _finished(run):
            missing.append(name)
            continue
        manifest = _manifest(run, path)
        rows = manifest.indices("test")
        if not len(rows):
            raise CrossValidationError(f"{path}: no clip of the split 'test'")
        folds.append(Fold(name, run, path, manifest, rows, manifest.targets(rows), _groups(manifest.take(rows))))
        if folds[-1].labels != folds[0].labels:
            raise CrossValidationError(f"{path}: other classes than in fold {folds[0].name}")
    return folds, missing


def cascade(folds: list[Fold], device: torch.device) -> list[System]:
    """Teacher-0 and every student, each fold's own."""
    generations = len(read_supervision(read_config(folds[0].directory)))
    names = ["Teacher-0", *(f"Student {stage}" for stage in range(1, generations))]
    systems = [System(name, []) for name in names]
    with progress("scoring", generations * len(folds)) as step:
        for fold in folds:
            for generation, system in enumerate(systems):
                system.scores.append(_heard(fold, generation, device))
                step(1)
    return systems


def yamnet(model: Path | None, folds: list[Fold], cache: Path) -> list[System]:
    """YAMNet as it is, its classes mapped to ours, and a regression on its features, fitted on the other folds.

    ``cache``: where its scores are kept (``training.networks.tflite.clip_scores``). Without ``model``, the regression alone, and
    that only if the cache holds all clips.

    Raises
    ------
    PeerError
        If the model cannot be run, or the cache is damaged.
    """
    if model is None and not all(cached(cache, clip_names(fold.manifest)) for fold in folds):
        return []
    mapping = System("YAMNet, logistic regression on its features", [])
    systems, names, labels = [mapping], class_names(model) if model else (), folds[0].labels
    if names:
        known = len({label.name for label in names} & {label.name for label in labels})
        suffix = f" ({known} of {len(labels)} classes)" if known < len(labels) else ""
        systems.insert(0, System(f"{AS_IT_IS}{suffix}", []))
    for fold in folds:
        manifest = fold.manifest
        with progress("YAMNet", len(manifest)) as step:
            said = clip_scores(model, clip_names(manifest), fold.waveform, cache, step)
        if names:
            systems[0].scores.append(mapped(said.scores[fold.rows], names, labels))
        learnt = np.concatenate([manifest.labelled("train"), manifest.indices("validation")])
        predict_clips = regression(said.features[learnt].astype(np.float64), manifest.targets(learnt), STRENGTH)
        mapping.scores.append(predict_clips(said.features[fold.rows]).astype(np.float32))
    return systems


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


def _heard(fold: Fold, generation: int, device: torch.device) -> Scores:
    """What a generation says of the test clips: as its report left it, or else scored now."""
    kept = read_split_scores(fold.directory / f"generation-{generation}", "test", fold.targets.shape)
    if kept is not None:
        return kept
    network = trained_network(fold.run, generation, device)
    return predict(network, Some(fold.run.audio, fold.rows), fold.run.settings.batch_size, workers=2)


def _finished(run: Path) -> bool:
    if not (run / "config.json").exists():
        return False
    generations = (run / f"generation-{number}" for number in range(len(read_supervision(read_config(run)))))
    return all(any((one / name).exists() for name in ("network.pt", SCORES)) for one in generations)


def _manifest(run: Path, path: Path) -> Manifest:
    """The manifest as the run has it: without clips that could not be decoded, which only its audio tells."""
    config = read_config(run)
    manifest = Manifest.load(path, None, config.get("on_error", "stop"))
    return manifest if manifest.sha256() == config.get("manifest_sha256") else Run.open(run, str(path)).manifest


def _groups(manifest: Manifest) -> list[str]:
    return [group or name for group, name in zip(manifest.groups, manifest.names(), strict=True)]


def _among(fold: Fold, rows: list[int]) -> Fold:
    return replace(fold, rows=fold.rows[rows], targets=fold.targets[rows], groups=[fold.groups[row] for row in rows])


def _said(system: System, chosen: list[list[int]]) -> System:
    return System(system.name, [scores[rows] for scores, rows in zip(system.scores, chosen, strict=True)])
