"""The card's sections on a cross-validation of the published network's recipe.

The published network itself may be trained on the clips of all folds, so that no fold is left to test it on.
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
from training.release.card.sections import best_and_worst, network_sentences
from training.runs.chosen import chosen_generation
from training.runs.config import read_config
from training.runs.experiments.crossval import CrossValidationError
from training.runs.reports import describe
from training.runs.run import Run

ESC50 = "esc50:"  # prefix of the groups of ESC-50's clips


class CrossValidation(NamedTuple):
    """A cross-validation, compared with the run whose model is published.

    Attributes
    ----------
    directory : directory of the cross-validation.
    peer : YAMNet's file, if given.
    report : report on all clips (``training.evaluate.crossval.report``), with confusions of the published generation.
    esc50 : the same for ESC-50's clips only; None unless only some of the clips are from ESC-50.
    overlap : number of its test clips from recordings in the run's training or validation split.
    differences : settings that differ between the run and the cross-validation, in words.
    """

    directory: Path
    peer: Path | None
    report: dict[str, Any]
    esc50: dict[str, Any] | None
    overlap: int
    differences: list[str]

    @property
    def system(self) -> str:
        """Name of the published generation."""
        return str(self.report["confusion"]["system"])

    def row(self, system: str) -> dict[str, Any]:
        """Metrics of a system."""
        return next(row for row in self.report["systems"] if row["system"] == system)


def read_crossval(directory: Path, run: Run, device: torch.device, peer: Path | None = None) -> CrossValidation:
    """Read a cross-validation for the card of ``run``.

    ``peer``: as in :func:`training.evaluate.tables.crossval_scores.read_crossval_scores`.

    Raises
    ------
    CrossValidationError
        If it is unfinished, has other classes than the run, or fewer generations.
    SedkitError
        If its scores, its data or the peer cannot be read.
    """
    _check_compatible(directory, run)
    results = read_crossval_scores(directory, device, peer)
    generation = chosen_generation(run.directory, run.reports())
    report = summarise(results, generation=generation)
    of_esc50 = [group.startswith(ESC50) for fold in results.folds for group in fold.groups]
    partly = any(of_esc50) and not all(of_esc50)
    esc50 = summarise(results.among(ESC50), generation=generation) if partly else None
    return CrossValidation(
        directory, peer, report, esc50, overlapping_clips(results.folds, run), differences(run, report)
    )


def _check_compatible(directory: Path, run: Run) -> None:
    """Refuse a cross-validation that does not match the run, before anything is scored."""
    folds, missing = open_folds(directory)
    if missing:
        raise CrossValidationError(
            f"{directory}: fold {missing[0]} is not finished: continue with sedkit-train crossval"
        )
    if folds[0].labels != run.labels:
        raise CrossValidationError(
            f"{directory}: its {len(folds[0].labels)} classes differ from those of {run.directory}: "
            "give a cross-validation of the same classes"
        )
    generations = len(read_config(folds[0].directory)["supervision"])
    if generations < len(run.supervision):
        raise CrossValidationError(
            f"{directory}: it has {generations} generations, {run.directory} has {len(run.supervision)}: "
            "give a cross-validation of the same recipe"
        )


def overlapping_clips(folds: list[Fold], run: Run) -> int:
    """Number of the folds' test clips from recordings in the run's training or validation split.

    Recordings are compared by group; clips without a group, by file name.
    """
    splits = run.manifest.splits
    known = set(_recordings(run.manifest, np.flatnonzero(splits.equals("train") | splits.equals("validation"))))
    return sum(recording in known for fold in folds for recording in _recordings(fold.manifest, fold.rows))


def _recordings(manifest: Manifest, rows: NDArray[np.int64]) -> list[str]:
    return [manifest.groups[row] or PurePath(manifest.paths[row]).name for row in rows]


def differences(run: Run, report: dict[str, Any]) -> list[str]:
    """Settings that differ between the run and the cross-validation, with both values."""
    of_run, of_folds = _recipe(read_config(run.directory)), _recipe(report)
    return [
        f"{key} {of_folds[key]} instead of {of_run[key]}"
        for key in of_run
        if of_folds.get(key, of_run[key]) != of_run[key]
    ]


def _recipe(about: dict[str, Any]) -> dict[str, Any]:
    """Settings by name, the targets of every generation, and the warm start."""
    settings = dict(about["settings"])
    augmentation = settings.pop("augmentation")
    stages = {f"targets of generation {number}:": describe(stage) for number, stage in enumerate(about["supervision"])}
    begun = about.get("begun_with")
    return {**settings, **augmentation, **stages, "initial weights:": begun["network"] if begun else "random"}


def summary_section(crossval: CrossValidation, run: Run, rows: list[dict[str, Any]]) -> list[str]:
    """The results in short, for a README: the cross-validation, then the file on its own test split."""
    report, own = crossval.report, rows[-1]["test"]
    return [
        f"{network_sentences(run, rows)} {_results(crossval)} {_seeds(crossval, run)}",
        "",
        *_lines(headline_table(crossval)),
        *_lines(gain_table(report)),
        f"{_overlap(crossval)} On the {own['clips']} held-out clips of its own test split: "
        f"accuracy {three(own['accuracy'])}, mAP {three(own['mAP'])}.",
        "",
    ]


def results_sentence(crossval: CrossValidation) -> str:
    """The most important results of the published generation."""
    row, folds = crossval.row(crossval.system), len(crossval.report["folds"])
    accuracy, mean_ap = (three(row[name]["mean"]) for name in ("accuracy", "mAP"))
    return f"In {folds}-fold cross-validation, networks of the same kind have accuracy {accuracy}, mAP {mean_ap}."


def lead_section(crossval: CrossValidation, run: Run) -> list[str]:
    """Results of the cross-validation, and how its networks differ from the one in the file."""
    report = crossval.report
    return [
        "## Cross-validation",
        "",
        f"{_results(crossval)} {_overlap(crossval)} {_seeds(crossval, run)}",
        "",
        *_lines(headline_table(crossval)),
        *_lines(gain_table(report)),
        *_lines("\n".join(facts(report))),
        *_lines(fold_table(report, "accuracy")),
        *_lines(fold_table(report, "mAP")),
        *_lines(source_table(report)),
    ]


def class_sections(crossval: CrossValidation) -> list[str]:
    """Confusions and AP of every class in the cross-validation."""
    report, system = crossval.report, crossval.system
    names = [entry["label"] for entry in worst_first(report) if entry["AP"][system] is not None]
    return [
        "## What it gets wrong",
        "",
        "In the cross-validation, on the clips with one label:",
        "",
        *_lines(pair_table(report["confusion"]) or "Nothing.\n"),
        "## Classes",
        "",
        f"In the cross-validation, {system}: {best_and_worst(names[::-1])}",
        "",
        *_lines(class_table(report)),
    ]


def headline_table(crossval: CrossValidation) -> str:
    """Accuracy and mAP of every system, and accuracy on ESC-50's clips if only some clips are from ESC-50."""
    head = ["mean over folds", *(word for name in ("accuracy", "mAP") for word in (name, "deviation", "95 %"))]
    if crossval.esc50:
        head += [f"accuracy on the {sum(crossval.esc50['clips']['test'])} clips of ESC-50", "deviation", "95 %"]
    rows = []
    for number, row in enumerate(crossval.report["systems"]):
        rows.append([row["system"], *spread(row["accuracy"]), *spread(row["mAP"])])
        if crossval.esc50:
            rows[-1] += spread(crossval.esc50["systems"][number]["accuracy"])
    return table(head, rows)


def metrics(crossval: CrossValidation) -> dict[str, float]:
    """Entry ``metrics.crossval`` in the lineage of the published file: means over folds, number of folds and clips."""
    row = crossval.row(crossval.system)
    means = {name: round(row[name]["mean"], 4) for name in ("mAP", "accuracy") if row[name]["mean"] is not None}
    return {**means, "folds": len(crossval.report["folds"]), "clips": sum(crossval.report["clips"]["test"])}


def commands(crossval: CrossValidation) -> list[str]:
    """The commands that repeat the cross-validation: training of its first fold, and its tables."""
    folds = crossval.report["folds"]
    return [
        *card_lineage.commands(crossval.report),
        f"# trains fold {folds[0]} of {', '.join(folds)}; sedkit-train crossval trains all of them",
        f"sedkit-train evaluate crossval {shlex.quote(str(crossval.directory))}",
    ]


def options(crossval: CrossValidation) -> str:
    """Options of ``sedkit-train publish`` after the run, with a leading space."""
    peer = ["--peer", f"yamnet={crossval.peer}"] if crossval.peer else []
    return " " + shlex.join(["--crossval", str(crossval.directory), *peer])


def _results(crossval: CrossValidation) -> str:
    """What was tested on which clips, and the results of the published generation."""
    report, row = crossval.report, crossval.row(crossval.system)
    clips, folds = sum(report["clips"]["test"]), len(report["folds"])
    recipe = (
        f"differs from the file's in: {'; '.join(crossval.differences)}"
        if crossval.differences
        else "is the same as the file's"
    )
    results = (
        f"{name} {three(row[name]['mean'])} (deviation {three(row[name]['deviation'])}, 95 % {spread(row[name])[2]})"
        for name in ("accuracy", "mAP")
    )
    return (
        f"In {folds}-fold cross-validation, each network was trained on the clips of the other folds and tested on the "
        f"held-out clips of its own fold, {clips} clips of {report['sources']} recordings in all. Training and test "
        f"clips have no recording, speaker or track in common. The recipe {recipe}. The published generation, "
        f"{crossval.system}, has {' and '.join(results)}."
    )


def _overlap(crossval: CrossValidation) -> str:
    """Whether the published network could be tested on the same clips."""
    clips = sum(crossval.report["clips"]["test"])
    if not crossval.overlap:
        return f"The file holds another network, trained on none of the recordings of these {clips} clips."
    return (
        f"The file holds another network, which cannot be tested on these {clips} clips: {crossval.overlap} are from "
        "recordings in its training or validation split."
    )


def _seeds(crossval: CrossValidation, run: Run) -> str:
    """Seeds and number of folds."""
    seed = crossval.report["seed"]
    return (
        f"{'One seed' if seed == run.seed else f'Seeds {seed} and {run.seed}'}, {len(crossval.report['folds'])} folds."
    )


def _lines(text: str) -> list[str]:
    """A table, which ends in an empty line, as list; nothing for empty text."""
    return [text] if text else []
