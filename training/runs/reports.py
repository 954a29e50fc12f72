"""Reports of a cascade: AP and AUC of every class and generation, and one table of all generations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.metrics import summary
from training.runtime.files import readable, replacing, write_json


def generation_report(
    labels: Sequence[Label], splits: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
) -> dict[str, Any]:
    """Metrics of one network on each split, from ``{split: (targets, scores)}``, both [clips, classes]."""
    return {split: summary(targets, scores, labels).to_dict() for split, (targets, scores) in splits.items()}


def best_threshold(targets: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """The common threshold of all classes with the highest micro-averaged F1; the highest one if several are equal.

    Targets that are NaN, unknown, are left out.
    """
    known = ~np.isnan(targets)
    order = np.argsort(-scores[known], kind="stable")
    ranked, right = scores[known][order], targets[known][order]
    f1 = 2 * np.cumsum(right) / (np.arange(1, len(ranked) + 1) + right.sum())
    return float(np.clip(ranked[int(np.argmax(f1))], 0.01, 0.99))


def write_report(run: Path, rows: Sequence[dict[str, Any]]) -> str:
    """Write ``report.json`` and ``report.md`` of a run and return the table.

    ``rows`` has one entry per generation: ``{"generation", "supervision", "best_epoch", "validation": {...},
    "test": {...}}``.
    """
    write_json(run / "report.json", list(rows))
    lines = [
        "| generation | supervision | best epoch | validation mAP | test mAP | test mAUC | test d' | test accuracy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        test = row.get("test") or {}
        cells = [
            "Teacher-0" if row["generation"] == 0 else f"Student {row['generation']}",
            describe(row["supervision"]),
            str(row["best_epoch"]),
            _number(row["validation"]["mAP"]),
            *(_number(test.get(key)) for key in ("mAP", "mAUC", "d_prime", "accuracy")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    table = "\n".join(lines) + "\n"
    with replacing(run / "report.md") as temporary:
        temporary.write_text(table, "utf-8")
    return table


def describe(supervision: dict[str, float]) -> str:
    """``{"labels": 0.3, "0": 0.7}`` -> ``0.3 labels + 0.7 T0``."""
    return " + ".join(f"{weight:g} {f'T{key}' if key.isdigit() else key}" for key, weight in supervision.items())


def read_generation(directory: Path) -> dict[str, Any]:
    """``report.json`` of one generation.

    Raises
    ------
    SedkitError
        If the file cannot be read.
    """
    path = directory / "report.json"
    with readable(path, f"remove it, and sedkit-train secost --resume {directory.parent} writes it again"):
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
        report["validation"]["mAP"]  # a report of this form
    return report


def read_epochs(directory: Path, *numbers: str) -> list[dict[str, Any]]:
    """``metrics.jsonl`` of one generation: a row per epoch, at least one; each has the ``numbers`` of these names.

    Raises
    ------
    SedkitError
        If the file cannot be read, or a row lacks a number.
    """
    path = directory / "metrics.jsonl"
    with readable(path, "restore it, or begin a new run"):
        rows: list[dict[str, Any]] = [dict(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        if not rows:
            raise ValueError("no epoch")
        for row in rows:
            for name in numbers:
                float(row[name])
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
