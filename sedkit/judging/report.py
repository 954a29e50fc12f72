"""Reports of ``sedkit evaluate``: a dictionary for JSON, text for reading, and a plot."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sedkit.judging.bootstrap import resampling_weights
from sedkit.judging.figures import Figures, event_figures, tag_figures
from sedkit.judging.trial import Trial

NAMES = {  # of figures, for reading
    "mAP": "mAP",
    "mAUC": "mAUC",
    "d_prime": "d'",
    "AP": "AP",
    "AUC": "AUC",
    "segment_f1": "segment F1",
    "segment_f1_micro": "segment F1, micro",
    "event_f1": "event F1",
    "event_f1_micro": "event F1, micro",
    "PSDS1": "PSDS1",
    "PSDS2": "PSDS2",
}
PLOTTED = ("AP", "segment_f1", "event_f1", "PSDS1")
TALLEST = 60  # classes in a plot


def evaluate(trial: Trial, replicates: int, seed: int = 0) -> dict[str, Any]:
    """The figures of a trial, ready for JSON.

    Parameters
    ----------
    replicates : of the bootstrap; 0 for no intervals.
    """
    weights = resampling_weights(trial.names, replicates, seed)
    figures = Figures()
    judged = np.flatnonzero(trial.targets.any(axis=0))
    if len(judged):
        scores = np.stack([detected.tags for detected in trial.detections])[:, judged]
        tags = tag_figures(trial.targets[:, judged], scores, [trial.labels[column] for column in judged], weights)
        figures |= Figures(tags.overall, {name: spread(row, judged, trial) for name, row in tags.by_class.items()})
    if trial.strong:
        figures |= event_figures(trial.detections, trial.truth, len(trial.labels), weights)
    events = np.bincount([column for spans in trial.truth for *_, column in spans], minlength=len(trial.labels))
    return {
        "recordings": len(trial.names),
        "seconds": round(sum(detected.duration for detected in trial.detections), 3),
        "events": int(events.sum()),
        "replicates": replicates,
        "notes": trial.notes,
        "overall": {name: figure.to_dict() for name, figure in figures.overall.items()},
        "classes": [
            {
                "label": label.name,
                "mid": label.mid,
                "recordings": int(trial.targets[:, column].sum()),
                "events": int(events[column]),
                **{name: row[column].to_dict() for name, row in figures.by_class.items()},
            }
            for column, label in enumerate(trial.labels)
        ],
    }


def spread(row: Sequence[Any], columns: Iterable[int], trial: Trial) -> list[Any]:
    """The figures of some classes, and undefined ones for the others."""
    from sedkit.judging.figures import Figure

    found = dict(zip(columns, row, strict=True))
    return [found.get(column, Figure(math.nan)) for column in range(len(trial.labels))]


def text(report: dict[str, Any]) -> str:
    """The report for reading."""
    minutes = f"{report['seconds'] / 60:.1f} min"
    classes = len(report["classes"])
    lines = [f"{report['recordings']} recordings, {minutes}, {classes} classes, {report['events']} events"]
    rows = [[NAMES[name], number(figure), bounds(figure)] for name, figure in report["overall"].items()]
    lines += ["", *aligned([["", "value", "95 % interval" if report["replicates"] else ""], *rows])]
    shown = [name for name in ("AP", "AUC", "segment_f1", "event_f1", "PSDS1", "PSDS2") if name in report["classes"][0]]
    head = ["class", "recordings", "events", *(NAMES[name] for name in shown)]
    rows = [
        [row["label"], str(row["recordings"]), str(row["events"]), *(number(row[name]) for name in shown)]
        for row in report["classes"]
    ]
    lines += ["", *aligned([head, *rows])]
    lines += ["", *(f"Note: {note}." for note in report["notes"])] if report["notes"] else []
    return "\n".join(lines) + "\n"


def number(figure: dict[str, Any]) -> str:
    """A figure with three decimals."""
    return "-" if figure["value"] is None else f"{figure['value']:.3f}"


def bounds(figure: dict[str, Any]) -> str:
    """The interval of a figure."""
    if not figure["interval"]:
        return ""
    return " to ".join("-" if bound is None else f"{bound:.3f}" for bound in figure["interval"])


def aligned(rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """Rows of a table: the first columns, which are texts, to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:texts], widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[texts:], widths[texts:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def plot(report: dict[str, Any], path: Path, form: str) -> None:
    """Draw the figures per class, with their intervals.

    Parameters
    ----------
    form : of the file, such as ``"png"``; the path may have another ending.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    names = [name for name in PLOTTED if any(row.get(name, {}).get("value") is not None for row in report["classes"])]
    shown = sorted(report["classes"], key=lambda row: -(row[names[0]]["value"] or 0) if names else 0)[:TALLEST]
    labels, places = [row["label"] for row in shown], np.arange(len(shown))
    size = 2.2 + 2.2 * max(1, len(names)), 1.2 + 0.25 * len(shown)
    canvas = Canvas(figsize=size, layout="constrained")
    FigureCanvasAgg(canvas)
    panels = np.atleast_1d(canvas.subplots(1, max(1, len(names)), sharey=True))
    for name, panel in zip(names, panels, strict=False):
        values = np.array([row[name]["value"] if row[name]["value"] is not None else np.nan for row in shown])
        panel.barh(places, values, color="#4878a8")
        for place, row in zip(places, shown, strict=True):
            if row[name]["interval"]:
                panel.plot(row[name]["interval"], [place, place], color="#202020", linewidth=1.2)
        panel.set(title=NAMES[name], xlim=(0, 1))
        panel.grid(axis="x", alpha=0.3)
        panel.set_axisbelow(True)
    panels[0].set_yticks(places, labels)
    panels[0].invert_yaxis()
    canvas.savefig(path, format=form, dpi=150)
