"""Facts about models, as JSON objects and as lines of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any


def model(path: Path) -> dict[str, Any]:
    """The facts in a model file's metadata, as a JSON object.

    Raises
    ------
    ModelError
        If the file is not a sedkit model.
    """
    from sedkit.contract import VERSION
    from sedkit.inference.model import Model

    contract = Model(path, "cpu").contract
    return {
        "file": str(path),
        "name": contract.name,
        "size": path.stat().st_size,
        "contract": VERSION,
        "precision": contract.precision,
        **asdict(contract.geometry),
        "license": contract.license,
        "lineage": dict(contract.lineage),
        "calibration": dict(contract.calibration),
        "tag_segments": contract.tag_segments,
        "labels": [
            {**asdict(label), "threshold": threshold, "timeline_threshold": timeline_threshold}
            for label, threshold, timeline_threshold in zip(
                contract.labels, contract.thresholds, contract.timeline_thresholds, strict=True
            )
        ],
    }


def megabytes(size: int) -> str:
    """A size in bytes as text: ``28.7 MB``."""
    return f"{size / 1e6:.1f} MB"


def network(lineage: Mapping[str, Any]) -> str | None:
    """The network's size and cost, if the lineage has them: ``width 0.25, 355 million multiply-adds for 10 s``.

    A network without a single width shows the filters of its layers: ``filters 16,40,80,200,1024,512``. A first
    convolution in patches adds ``patches``, attention pooling ``attention``.
    """
    parts = []
    if isinstance(width := lineage.get("width"), int | float):
        parts.append(f"width {width:g}")
    elif isinstance(width, list):
        parts.append(f"filters {','.join(map(str, width))}")
    if lineage.get("stem") == "patches":
        parts.append("patches")
    if lineage.get("pooling") == "attention":
        parts.append("attention")
    if isinstance(work := lineage.get("multiply_adds"), int):
        parts.append(f"{work / 1e6:,.0f} million multiply-adds for 10 s")
    return ", ".join(parts) or None


def calibration(kind: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """The kind of calibration and its effect on held-out clips: ``platt, error of tags 0.031 (0.214 before)``."""
    try:
        before, after = lineage["calibrated_on"]["test"]["calibration_error"]
        return f"{kind['kind']}, error of tags {after:.3f} ({before:.3f} before)"
    except (KeyError, TypeError, ValueError):
        return str(kind["kind"])


def quantisation(lineage: Mapping[str, Any]) -> dict[str, str]:
    """The measured effect of int8 on each split: ``{"int8 - fp32, test": "mAP -0.0004, accuracy +0.0000"}``."""
    losses = lineage.get("quantisation", {}).get("loss", {})
    return {
        f"int8 - fp32, {split}": ", ".join(
            [f"{name} {-lost[name]:+.4f}" for name in ("mAP", "mAUC", "accuracy") if name in lost]
            + [f"scores {lost['mean_difference']:.1g} on average, {lost['largest_difference']:.2g} at most"]
        )
        for split, lost in losses.items()
    }


def metrics(values: Mapping[str, Any]) -> dict[str, str]:
    """One row per split, and one for metrics without a split: ``{"metrics, test": "mAP 0.81, mAUC 0.97"}``.

    The accuracy of a model is that of clips with a single label (sedkit.metrics).
    """
    rows = {f"metrics, {split}": _numbers(inner) for split, inner in values.items() if isinstance(inner, Mapping)}
    rest = _numbers({name: value for name, value in values.items() if not isinstance(value, Mapping)})
    return {"metrics": rest, **rows} if rest else rows


def lineage(values: Mapping[str, Any]) -> dict[str, Any]:
    """One row for each lineage entry that the other functions do not cover; of a warm start, only the source."""
    from sedkit.contract import UNKNOWN

    shown_elsewhere = ("metrics", "quantisation", "calibrated_on", "width", "pooling", "stem", "multiply_adds")
    hidden = (*shown_elsewhere, "settings", "teachers", "begun_with", "imported", "thresholds")
    rows = {name.replace("_", " "): value for name, value in values.items() if name not in hidden}
    if isinstance(source := values.get("imported"), Mapping):
        rows["imported"] = f"{source.get('network')}, from {source.get('file')}"
    if values.get("thresholds") == UNKNOWN:
        rows["thresholds"] = "unknown: the same for all classes; sedkit tune finds them on labelled recordings"
    source = values.get("begun_with")
    if isinstance(source, Mapping):
        rows["fine-tuned from"] = f"{source.get('run')}, {source.get('network')}"
    return rows


def block(title: str, rows: Mapping[str, Any]) -> str:
    """A title, followed by one indented line per row; rows that are None are left out."""
    width = max(map(len, rows), default=0)
    lines = [f"  {name:<{width}}  {_to_text(value)}" for name, value in rows.items() if value is not None]
    return "\n".join([title, *lines])


def _numbers(values: Mapping[str, Any]) -> str:
    named = {"accuracy with one label" if name == "accuracy" else name: value for name, value in values.items()}
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in named.items()
    )


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
