"""What ``training.evaluate.crossval`` reports, in Markdown. A table of nothing is empty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.evaluate.tables.markdown import table, three
from training.networks.wels import in_words
from training.runs.reports import describe

PAIRS = 15  # most confused


def document(report: dict[str, Any]) -> str:
    """The report in Markdown."""
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
    """What was trained and tested on what, as a list in Markdown with an empty line after it."""
    clips, settings = report["clips"], report["settings"]
    tested = f"{sum(clips['test'])} clips of {report['sources']} sources in {len(report['folds'])} folds"
    if report["missing"]:
        tested += f", without {', '.join(report['missing'])}, which are not finished"
    return [
        f"- tested on {tested}; learnt from {_range(clips['train'])} clips, "
        + (
            f"best epochs chosen on {_range(clips['validation'])}"
            if settings["validate_every"] < settings["epochs"]
            else "the last epoch taken"
        ),
        f"- networks: {in_words(settings)}, {settings['epochs']} epochs of crops of {settings['crop']:g} s, "
        f"seed {report['seed']}; "
        + ", ".join(
            f"{f'student {n}' if n else 'Teacher-0'}: {describe(stage)}"
            for n, stage in enumerate(report["supervision"])
        ),
        f"- {report['date']}, commit {report['git_revision']}, {report['device']}",
        "- mean and standard deviation over folds; intervals: 95 %, by a bootstrap over sources of "
        f"{report['replicates']} replicates\n",
    ]


def fold_table(report: dict[str, Any], metric: str) -> str:
    """A metric of every system in every fold."""
    head = [metric, *(f"fold {fold}" for fold in report["folds"]), "mean", "deviation", "95 %"]
    rows = [
        [row["system"], *map(three, row[metric]["folds"]), *spread(row[metric], three)] for row in report["systems"]
    ]
    return table(head, rows)


def gain_table(report: dict[str, Any]) -> str:
    """What every system gains over Teacher-0."""
    head = ["gain over Teacher-0", "accuracy", "deviation", "95 %", "mAP", "deviation", "95 %", "relative"]
    base = report["systems"][0]["mAP"]["mean"]
    rows = []
    for row in report["systems"][1:]:
        gain = row["gain"]
        relative = f"{gain['mAP']['mean'] / base:+.1%}" if base and gain["mAP"]["mean"] is not None else "-"
        rows.append([row["system"], *spread(gain["accuracy"], _signed), *spread(gain["mAP"], _signed), relative])
    return table(head, rows) if rows else ""


def source_table(report: dict[str, Any]) -> str:
    """Accuracy of every system by source, of all folds together, where there are several sources."""
    names = [row["system"] for row in report["systems"]]
    rows = [
        [each["source"], str(each["clips"]), *(three(each["accuracy"][name]) for name in names)]
        for each in report["by_source"]
    ]
    return table(["accuracy by source", "clips", *names], rows) if len(rows) > 1 else ""


def class_table(report: dict[str, Any]) -> str:
    """AP of every class, the worst first."""
    names = [row["system"] for row in report["systems"]]
    rows = [
        [each["label"], str(each["clips"]), *(three(each["AP"][name]) for name in names)]
        for each in worst_first(report)
    ]
    return table(["AP", "clips", *names], rows)


def worst_first(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The classes by the AP of the system whose confusions are counted, those without AP last."""
    system = report["confusion"]["system"]
    return sorted(report["classes"], key=lambda each: (each["AP"][system] is None, each["AP"][system]))


def pair_table(confusion: dict[str, Any]) -> str:
    """The pairs of classes that are confused most."""
    counts, labels = np.array(confusion["counts"]), confusion["labels"]
    of = counts.sum(1)
    np.fill_diagonal(counts, 0)
    places = np.argsort(-counts, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(place), len(labels)) for place in places if counts.flat[place]]
    rows = [[labels[true], labels[taken], f"{counts[true, taken]} of {of[true]}"] for true, taken in pairs]
    return table([f"most confused by {confusion['system']}", "taken for", "clips"], rows) if rows else ""


def spread(figure: dict[str, Any], text: Any = three) -> list[str]:
    """Mean, deviation and interval of an ``estimate``, each as text."""
    low, high = figure["interval"] or (None, None)
    return [text(figure["mean"]), three(figure["deviation"]), f"{text(low)} to {text(high)}"]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
