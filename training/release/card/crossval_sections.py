"""The sections of a card that a cross-validation fills: what networks trained as the shipped one was do on new clips.

The shipped network may learn from the clips of all folds; then no fold is left to test it on.
"""

from __future__ import annotations

import shlex
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.manifest.table import Manifest
from training.evaluate.crossval import summarise
from training.evaluate.tables.crossval import (
    class_table,
    facts,
    fold_table,
    gain_table,
    pair_table,
    source_table,
    spread,
    worst_first,
)
from training.evaluate.tables.crossval_scores import Fold, open_folds, read_crossval_scores
from training.evaluate.tables.markdown import table, three
from training.release.card import lineage as card_lineage
from training.release.card.lineage import external_teachers
from training.release.card.sections import OWN, best_and_worst, learnt
from training.runs.config import read_config
from training.runs.experiments.crossval import CrossValidationError
from training.runs.reports import describe
from training.runs.run import Run

ESC50 = "esc50:"  # what groups of its clips begin with


class CrossValidated(NamedTuple):
    """What a cross-validation says of the recipe of a run.

    Attributes
    ----------
    directory : where it is.
    peer : file of the peer that was named.
    report : of all clips (``training.evaluate.crossval.report``), with the confusions of the run's last generation.
    esc50 : the same of ESC-50's clips alone; None where there are no others, or none of it.
    heard : how many of the clips tested on are of recordings that the run learnt from.
    differences : settings that the run has and the cross-validation has not, in words.
    """

    directory: Path
    peer: Path | None
    report: dict[str, Any]
    esc50: dict[str, Any] | None
    heard: int
    differences: list[str]

    @property
    def system(self) -> str:
        """Name of the generation that ships."""
        return str(self.report["confusion"]["system"])

    def row(self, system: str) -> dict[str, Any]:
        """The figures of a system."""
        return next(row for row in self.report["systems"] if row["system"] == system)


def crossvalidated(directory: Path, run: Run, device: torch.device, peer: Path | None = None) -> CrossValidated:
    """Read a cross-validation, for the card of a run. ``peer``: as in ``training.evaluate.tables.crossval_scores.scored``.

    Raises
    ------
    CrossValidationError
        If it is not finished, has other classes than the run or fewer generations.
    SedkitError
        If its scores, its data or the peer cannot be used.
    """
    _fits(directory, run)
    found, generation = read_crossval_scores(directory, device, peer), len(run.supervision) - 1
    report = summarise(found, generation=generation)
    of_esc50 = [group.startswith(ESC50) for fold in found.folds for group in fold.groups]
    partly = any(of_esc50) and not all(of_esc50)
    esc50 = summarise(found.among(ESC50), generation=generation) if partly else None
    return CrossValidated(directory, peer, report, esc50, heard(found.folds, run), differences(run, report))


def _fits(directory: Path, run: Run) -> None:
    """Refuse a cross-validation that a run's card cannot have, before anything is scored."""
    folds, missing = open_folds(directory)
    if missing:
        raise CrossValidationError(f"{directory}: fold {missing[0]} is not finished; go on with sedkit-train crossval")
    if folds[0].labels != run.labels:
        raise CrossValidationError(
            f"{directory}: its {len(folds[0].labels)} classes are not those of {run.directory}; "
            "name a cross-validation of the same classes"
        )
    generations = len(read_config(folds[0].directory)["supervision"])
    if generations < len(run.supervision):
        raise CrossValidationError(
            f"{directory}: {generations} generations, and {run.directory} has {len(run.supervision)}; "
            "name a cross-validation of the same recipe"
        )


def heard(folds: list[Fold], run: Run) -> int:
    """How many test clips of the folds are of recordings that the run's networks were fitted to or chosen on.

    Clips without a group are told by the names of their files, wherever those lie.
    """
    splits = run.manifest.splits
    known = set(_recordings(run.manifest, np.flatnonzero(splits.equals("train") | splits.equals("validation"))))
    return sum(recording in known for fold in folds for recording in _recordings(fold.manifest, fold.rows))


def _recordings(manifest: Manifest, rows: NDArray[np.int64]) -> list[str]:
    return [manifest.groups[row] or PurePath(manifest.paths[row]).name for row in rows]


def differences(run: Run, report: dict[str, Any]) -> list[str]:
    """Each setting that is another in the run than in a cross-validation, with both values."""
    ours, theirs = _recipe(read_config(run.directory)), _recipe(report)
    return [f"{key} {theirs[key]}, in the file {ours[key]}" for key in ours if theirs.get(key, ours[key]) != ours[key]]


def _recipe(about: dict[str, Any]) -> dict[str, Any]:
    """Settings by name, and what each generation learnt towards."""
    settings = dict(about["settings"])
    augmentation = settings.pop("augmentation")
    stages = {f"targets of generation {number}:": describe(stage) for number, stage in enumerate(about["supervision"])}
    begun = about.get("begun_with")
    return {**settings, **augmentation, **stages, "beginning": begun["network"] if begun else "from scratch"}


def summary_section(found: CrossValidated, run: Run, rows: list[dict[str, Any]]) -> list[str]:
    """The results in short: the cross-validation, then the file on its own test split."""
    report, own = found.report, rows[-1]["test"]
    return [
        f"{learnt(run, rows)} {_told(found)} {_seeds(found, run)}",
        "",
        *_lines(headline_table(found)),
        *_lines(gain_table(report)),
        f"{_heard(found)} On its own test split, {own['clips']} clips that it never heard: "
        f"accuracy {three(own['accuracy'])}, mAP {three(own['mAP'])}.",
        "",
        *external_teachers(run, OWN),
    ]


def lead_section(found: CrossValidated, run: Run) -> list[str]:
    """What the cross-validation found, and what it says of the file."""
    report = found.report
    return [
        "## Cross-validation",
        "",
        f"{_told(found)} {_heard(found)} {_seeds(found, run)}",
        "",
        *_lines(headline_table(found)),
        *_lines(gain_table(report)),
        *_lines("\n".join(facts(report))),
        *_lines(fold_table(report, "accuracy")),
        *_lines(fold_table(report, "mAP")),
        *_lines(source_table(report)),
    ]


def class_sections(found: CrossValidated) -> list[str]:
    """AP of every class and what is confused, in the cross-validation."""
    names = [each["label"] for each in worst_first(found.report) if each["AP"][found.system] is not None]
    return [
        "## Classes",
        "",
        f"In the cross-validation, {found.system}: {best_and_worst(names[::-1])}",
        "",
        *_lines(class_table(found.report)),
        "## What it gets wrong",
        "",
        "In the cross-validation, of the clips with one label:",
        "",
        *_lines(pair_table(found.report["confusion"]) or "Nothing.\n"),
    ]


def headline_table(found: CrossValidated) -> str:
    """Accuracy and mAP of every system, and its accuracy on ESC-50's clips alone where there are others."""
    head = ["mean over folds", *(word for name in ("accuracy", "mAP") for word in (name, "deviation", "95 %"))]
    if found.esc50:
        head += [f"accuracy on the {sum(found.esc50['clips']['test'])} clips of ESC-50", "deviation", "95 %"]
    rows = []
    for number, row in enumerate(found.report["systems"]):
        rows.append([row["system"], *spread(row["accuracy"]), *spread(row["mAP"])])
        if found.esc50:
            rows[-1] += spread(found.esc50["systems"][number]["accuracy"])
    return table(head, rows)


def metrics(found: CrossValidated) -> dict[str, float]:
    """Means over folds of the generation that ships, for the lineage of its file; ``folds`` and ``clips``: how many."""
    row = found.row(found.system)
    figures = {name: round(row[name]["mean"], 4) for name in ("mAP", "accuracy") if row[name]["mean"] is not None}
    return {**figures, "folds": len(found.report["folds"]), "clips": sum(found.report["clips"]["test"])}


def commands(found: CrossValidated) -> list[str]:
    """What to give to have the cross-validation again: its first fold's training, and its tables."""
    folds = found.report["folds"]
    return [
        *card_lineage.commands(found.report),
        f"# that is fold {folds[0]} of {', '.join(folds)}; sedkit-train crossval starts them all",
        f"sedkit-train evaluate crossval {shlex.quote(str(found.directory))}",
    ]


def options(found: CrossValidated) -> str:
    """Of training.release.publish, after the run."""
    given = ["--crossval", str(found.directory), *(["--peer", f"yamnet={found.peer}"] if found.peer else [])]
    return " " + shlex.join(given)


def _told(found: CrossValidated) -> str:
    """Sentences: what was tested on what, and the figures of the generation that ships."""
    report, row = found.report, found.row(found.system)
    clips, folds = sum(report["clips"]["test"]), len(report["folds"])
    recipe = f"differs in: {'; '.join(found.differences)}" if found.differences else "is the same"
    figures = (
        f"{name} {three(row[name]['mean'])} (deviation {three(row[name]['deviation'])}, 95 % {spread(row[name])[2]})"
        for name in ("accuracy", "mAP")
    )
    return (
        f"In cross-validation, each of {folds} networks a generation learnt from the clips of the other folds and was "
        f"tested on those of its own, of whose recordings, speakers and tracks it had heard none: {clips} clips of "
        f"{report['sources']} sources in all. The recipe {recipe}. Over folds, {found.system}, the generation that "
        f"ships, has {' and '.join(figures)}."
    )


def _heard(found: CrossValidated) -> str:
    """A sentence: why the file itself is not tested so."""
    clips = sum(found.report["clips"]["test"])
    if not found.heard:
        return f"The network in the file is another, trained on none of the recordings of these {clips} clips."
    return (
        f"The network in the file is another: of these {clips} clips, {found.heard} are of recordings that it learnt "
        "from or was chosen on, and it cannot be tested on them."
    )


def _seeds(found: CrossValidated, run: Run) -> str:
    same = "One seed" if found.report["seed"] == run.seed else f"Seeds {found.report['seed']} and {run.seed}"
    return f"{same}, {len(found.report['folds'])} folds."


def _lines(text: str) -> list[str]:
    """Of a table, which has an empty line after it where it is not empty."""
    return [text] if text else []
