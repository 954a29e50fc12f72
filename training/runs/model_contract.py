"""The metadata of the exported model: its contract, with the lineage of the run."""

from __future__ import annotations

from typing import Any

from sedkit.contract import Contract
from training.data.clips import median_segments
from training.networks.wels import multiply_adds
from training.runs.config import git_revision, read_config
from training.runs.run import Run


def model_contract(run: Run, reports: list[dict[str, Any]]) -> Contract:
    """The contract of the exported network; ``reports`` are those of the generations up to it."""
    config, last = read_config(run.directory), reports[-1]
    lineage = {
        "dataset_sha256": config["manifest_sha256"],
        "clips": config["clips"],
        "stages": len(reports) - 1,
        "supervision": [report["supervision"] for report in reports],
        "seed": run.seed,
        "width": run.settings.width,
        "pooling": run.settings.pooling,
        "stem": run.settings.stem,
        "multiply_adds": multiply_adds(len(run.labels), run.settings.width, run.settings.pooling, run.settings.stem),
        "settings": config["settings"],
        "teachers": config.get("teachers") or {},
        "begun_with": config.get("begun_with"),
        "git_revision": config["git_revision"],
        "export_revision": git_revision(),
    }
    thresholds = (last["threshold"],) * len(run.labels)
    model = config["model"]
    return Contract(
        model["name"],
        run.labels,
        thresholds,
        {"kind": "none"},
        lineage,
        model["license"],
        tag_segments=median_segments(run.clips("validation", labelled=True).waveforms),
    )
