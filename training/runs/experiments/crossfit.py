"""Cross-fitted teachers: what networks say of clips that they never heard, for the students of a cascade (Eq. 6).

The labelled clips of the training split are cut into parts. For each there is a cascade that learns from the others
and hears nothing of it; on disk they are a cross-validation (training.runs.experiments.crossval) of the training split, resumed as one::

    crossval.json      the parts with their manifests, and the options of every training
    fold-1.csv ...     manifests: the test split is the part, the others are learnt from
    fold-1/ ...        one run a part (training.secost), with what its last network says (training.supervision.targets)
    decoded            the store of the manifest that was cut, if links can be made here
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from training.data.clips import Clips, Some, WeakLabels
from training.runs.experiments.crossval import CrossValidationError, claim, train_folds
from training.data.store.source import Audio
from training.data.store.decoded import AudioStore
from training.runtime.deadline import Deadline
from training.runs.experiments.folds import write_parts
from training.runs.generations import trained_network
from training.runs.options import default_workers, torch_device
from training.runs.presets import Options
from training.runs.run import Run
from training.supervision.targets import stored_predictions

CASCADE = {"stages", "stage", "alpha", "preset"}  # options that say how many students there are


def crossfit(
    audio: Audio, count: int, directory: Path, given: Options, launch: str, deadline: Deadline
) -> NDArray[np.float32]:
    """What ``count`` networks say of all clips [clips, classes], each of those that it did not learn from.

    A labelled training clip is predicted by the network that did not hear its part, any other by the mean of all.
    What was done in ``directory`` before is not done again.

    Parameters
    ----------
    given : options of training.secost, for every part; without any of ``CASCADE``, Teacher-0 is all that is trained.
    launch : what starts a training (training.runs.experiments.sweep).

    Raises
    ------
    SedkitError
        If the clips cannot be cut into so many parts, or another cross-validation is in ``directory``.
    Stopped, click.ClickException, SystemExit
        If not all networks could be finished (training.runs.experiments.sweep.train), or asked.
    """
    if not isinstance(audio, AudioStore):
        raise CrossValidationError("the splits of a packed set are fixed; name the manifest that it was packed from")
    given = given if given.keys() & CASCADE else given | {"stages": 0}
    parts = {str(part): Path(f"fold-{part}.csv") for part in range(1, count + 1)}
    claim(directory, parts, given, write=False)  # before its manifests are written over
    folds = write_parts(audio.manifest, count, directory)
    lend(audio, directory)
    train_folds(directory, folds, given, launch, deadline)
    device = torch_device(given.get("device", "auto"))
    workers = given.get("workers") or default_workers(device)
    labelled = np.flatnonzero(audio.manifest.labels.known)
    others = np.setdiff1d(np.arange(len(audio)), audio.manifest.labelled("train"))
    said = np.zeros((len(audio), len(audio.manifest.vocabulary)), np.float32)
    with click.progressbar(folds.items(), label="predicting", file=sys.stderr) as progress:
        for fold, manifest in progress:
            run = Run.open(directory / f"fold-{fold}", str(directory / manifest))
            rows = np.concatenate([labelled[run.manifest.indices("test")], others])
            said[rows] += predictions(run, audio, rows, device, workers, deadline)
    said[others] /= count
    return said.clip(0, 1)


def predictions(
    run: Run, audio: Audio, rows: NDArray[np.int64], device: torch.device, workers: int, deadline: Deadline
) -> NDArray[np.float16]:
    """What the last network of ``run`` says of the clips at ``rows`` of ``audio``, whole; kept beside its weights."""
    last = len(run.supervision) - 1
    network, weights = trained_network(run, last, device), run.generation(last) / "network.pt"
    clips = Clips(Some(audio, rows, trimmed=True), WeakLabels(audio.manifest, rows), run.labels)
    identity = audio.manifest.sha256()

    def step(done: int, seconds: float) -> None:
        deadline.check(seconds)

    return stored_predictions(network, weights, clips, identity, run.settings.batch_size, workers, step)


def lend(store: AudioStore, directory: Path) -> None:
    """Have the manifests in ``directory`` find their clips decoded.

    They do where they have all clips of the store: where some are unlabelled or unusable, the others are decoded again.
    """
    link = directory / "decoded"
    if link.exists():
        return
    with contextlib.suppress(OSError):  # where there are no links, they are decoded once more
        link.unlink(missing_ok=True)  # a link to what is gone
        link.symlink_to(store.folder.parent.resolve(), target_is_directory=True)
