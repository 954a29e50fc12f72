"""The recordings of own classes: a folder of folders, and what each clip says about each class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.ontology import load
from training.data.audio import fault
from training.data.manifest.problems import ManifestError, Tally
from training.data.readers.building import audio_below
from training.data.readers.folders import OTHER, class_of

LEAST = 2  # recordings of a class: one to train on, one to test on


class Clip(NamedTuple):
    """A recording.

    Attributes
    ----------
    label : its class; None: none of the classes.
    group : clips of one group come from one recording, and are held out together.
    """

    path: str
    label: Label | None
    group: str


def read_clips(folder: Path, known: Sequence[Label]) -> list[Clip]:
    """The clips of ``folder``, whose folders are classes. Clips of a folder further below form a group.

    Parameters
    ----------
    known : classes of the model; a class of the same name, in any case, is the same class.

    Raises
    ------
    ManifestError
        If there is no class, a class has fewer than two groups or cannot have its name, or a clip cannot be read.
    """
    clips, labels = [], dict[str, Label]()
    for path in _audio(folder):
        name, *below = path.split("/")
        if not below:
            continue
        label = None if name in OTHER else labels.setdefault(name, _label(class_of(folder / name), known))
        clips.append(Clip(str(folder / path), label, f"{name}/{below[0]}"))
    if not labels:
        raise ManifestError(f"{folder}: no audio in folders below it; it must hold one folder per class")
    by_key: dict[str, str] = {}
    for name, label in labels.items():
        if (other := by_key.setdefault(key_of(label), name)) != name:
            raise ManifestError(f"{folder}: the folders {other!r} and {name!r} name one class: put them together")
        if len({clip.group for clip in clips if clip.label == label}) < LEAST:
            raise ManifestError(
                f"{folder / name}: one recording only: add others, because one is kept to test on; ten work well"
            )
    return clips


def read_others(folder: Path) -> list[Clip]:
    """All clips below ``folder``, as none of the classes. Clips of a folder in it form a group.

    Raises
    ------
    ManifestError
        If there are none, or one cannot be read.
    """
    clips = [Clip(str(folder / path), None, str(folder / path.split("/")[0])) for path in _audio(folder)]
    if not clips:
        raise ManifestError(f"{folder}: no audio below it; name a folder with recordings of other sounds")
    return clips


def key_of(label: Label) -> str:
    """MID of a class, or its name."""
    return label.mid or label.name.casefold()


def targets_of(labels: Sequence[Collection[str]], classes: Sequence[Label]) -> NDArray[np.float32]:
    """Targets [clips, classes]: 1 for a label that is the class or below it in AudioSet's ontology, NaN (unknown) for
    one above it, else 0.

    Parameters
    ----------
    labels : of each clip, as :func:`key_of`.
    """
    ontology, targets = load(), np.zeros((len(labels), len(classes)), np.float32)
    for column, label in enumerate(classes):
        key = key_of(label)
        below, above = (ontology.below(key), ontology.above(key)) if label.mid else ({key}, {key})
        for row, names in enumerate(labels):
            if below.intersection(names):
                targets[row, column] = 1
            elif above.intersection(names):
                targets[row, column] = np.nan
    return targets


def folds_of(clips: Sequence[Clip], count: int) -> NDArray[np.int64]:
    """The fold of each clip, 0 to ``count`` - 1. Groups stay whole, and those of each class are dealt in turn."""
    fold: dict[str, int] = {}
    dealt: dict[Label | None, int] = {}
    for clip in clips:
        if clip.group not in fold:
            fold[clip.group] = dealt.get(clip.label, 0) % count
            dealt[clip.label] = dealt.get(clip.label, 0) + 1
    return np.array([fold[clip.group] for clip in clips])


def _label(name: str, known: Sequence[Label]) -> Label:
    """The class of the model with this name, or else a new one, with AudioSet's MID if AudioSet has it."""
    mid = load().find(name)
    same = (label for label in known if (mid and label.mid == mid) or label.name.casefold() == name.casefold())
    return next(same, Label(name, mid))


def _audio(folder: Path) -> list[str]:
    """Paths of the audio below ``folder``, relative to it; each can be opened."""
    problems = Tally()
    paths = list(audio_below(folder, Tally(), problems))
    for path in paths:
        if kind := fault(str(folder / path)):
            raise ManifestError(f"{folder / path}: {kind}: repair it, or take it out of the folder")
    if problems:
        raise ManifestError(f"{folder}: {problems}: rename")
    return paths
