"""Markdown tables of a cross-validation report (``training.evaluate.crossval``). Tables without rows are empty text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from training.evaluate.tables.markdown import table, three
from training.networks.wels import describe_network
from training.runs.reports import describe

PAIRS = 15  # how many confused pairs of classes are listed


def document(report: dict[str, Any]) -> str:
    """The whole report in Markdown."""
    parts = [
        f"## Cross-validation of {report['name']}\n",
        *facts(report),
        *(fold_table(report, metric) for metric in ("accuracy", "mAP")),
        gain_table(report),
        source_table(report),
        class_table(report),
        pair_table(report["confusion"]),
    ]
    return "\n".join(part for part in parts if part)


def facts(report: dict[str, Any]) -> list[str]:
    """Data and settings as a Markdown list, ending in an empty line."""
    clips, settings = report["clips"], report["settings"]
    tested = f"{sum(clips['test'])} clips of {report['sources']} recordings in {len(report['folds'])} folds"
    if report["missing"]:
        tested += f", without the unfinished folds {', '.join(report['missing'])}"
    return [
        f"- tested on {tested}; trained on {_range(clips['train'])} clips, "
        + (
            f"best epoch chosen on {_range(clips['validation'])} clips"
            if settings["validate_every"] < settings["epochs"]
            else "last epoch kept"
        ),
        f"- networks: {describe_network(settings)}, {settings['epochs']} epochs of crops of {settings['crop']:g} s, "
        f"seed {report['seed']}; "
        + ", ".join(
            f"{f'student {n}' if n else 'Teacher-0'}: {describe(stage)}"
            for n, stage in enumerate(report["supervision"])
        ),
        f"- {report['date']}, commit {report['git_revision']}, {report['device']}",
        "- mean and standard deviation over folds; 95 % intervals from a bootstrap over recordings, "
        f"{report['replicates']} replicates\n",
    ]


def fold_table(report: dict[str, Any], metric: str) -> str:
    """One metric of every system in every fold."""
    head = [metric, *(f"fold {fold}" for fold in report["folds"]), "mean", "deviation", "95 %"]
    rows = [
        [row["system"], *map(three, row[metric]["folds"]), *spread(row[metric], three)] for row in report["systems"]
    ]
    return table(head, rows)


def gain_table(report: dict[str, Any]) -> str:
    """Gain of every system over Teacher-0."""
    head = ["gain over Teacher-0", "accuracy", "deviation", "95 %", "mAP", "deviation", "95 %", "relative"]
    base = report["systems"][0]["mAP"]["mean"]
    rows = []
    for row in report["systems"][1:]:
        gain = row["gain"]
        relative = f"{gain['mAP']['mean'] / base:+.1%}" if base and gain["mAP"]["mean"] is not None else "-"
        rows.append([row["system"], *spread(gain["accuracy"], _signed), *spread(gain["mAP"], _signed), relative])
    return table(head, rows) if rows else ""


def source_table(report: dict[str, Any]) -> str:
    """Accuracy of every system by source over all folds; empty if there is only one source."""
    names = [row["system"] for row in report["systems"]]
    rows = [
        [each["source"], str(each["clips"]), *(three(each["accuracy"][name]) for name in names)]
        for each in report["by_source"]
    ]
    return table(["accuracy by source", "clips", *names], rows) if len(rows) > 1 else ""


def class_table(report: dict[str, Any]) -> str:
    """AP of every class, lowest first."""
    names = [row["system"] for row in report["systems"]]
    rows = [
        [each["label"], str(each["clips"]), *(three(each["AP"][name]) for name in names)]
        for each in worst_first(report)
    ]
    return table(["AP", "clips", *names], rows)


def worst_first(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Classes by ascending AP of the system in the confusion matrix; classes without AP come last."""
    system = report["confusion"]["system"]
    return sorted(report["classes"], key=lambda each: (each["AP"][system] is None, each["AP"][system]))


def pair_table(confusion: dict[str, Any]) -> str:
    """The pairs of classes that are confused most often."""
    counts, labels = np.array(confusion["counts"]), confusion["labels"]
    totals = counts.sum(1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(index), len(labels)) for index in order if counts.flat[index]]
    rows = [[labels[true], labels[guess], f"{counts[true, guess]} of {totals[true]}"] for true, guess in pairs]
    return table([f"true class ({confusion['system']})", "predicted", "clips"], rows) if rows else ""


def spread(estimate: dict[str, Any], text: Callable[[float | None], str] = three) -> list[str]:
    """Mean, deviation and interval of an ``estimate`` of ``training.evaluate.crossval``, each as text."""
    low, high = estimate["interval"] or (None, None)
    return [text(estimate["mean"]), three(estimate["deviation"]), f"{text(low)} to {text(high)}"]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
