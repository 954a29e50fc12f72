"""What a card says of timelines: RUN/timelines.json, as ``sedkit-train evaluate timelines --json`` writes it."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sedkit.errors import SedkitError
from sedkit.inference.installed import sibling
from training.data.augment.soundscapes import Recipe
from training.evaluate.tables.markdown import table, three
from training.runs.run import Run
from training.runtime.files import sha256

COLUMNS = {
    "mAP": "tags, mAP",
    "tag_f1": "tags, F1",
    "segment_f1": "segments of 1 s, F1",
    "event_f1": "events, F1",
    "PSDS1": "PSDS1",
    "PSDS2": "PSDS2",
}
OPTIONS = {  # of training.data soundscapes: Recipe's name, the option's
    "seconds": "seconds",
    "events": "events",
    "longest": "longest",
    "overlap": "overlap",
    "snr": "snr",
    "background": "level",
}


def read_timelines(run: Run, model: Path, name: str) -> dict[str, Any] | None:
    """What was measured of ``model``, of its int8 form and of peers, under their names; None: nothing.

    ``name``: of the model, as it is published.

    Raises
    ------
    SedkitError
        If the model is not among those measured, or the recordings are not of the run's own test clips.
    """
    path = run.directory / "timelines.json"
    if not path.exists():
        return None
    report = json.loads(path.read_text("utf-8"))
    int8 = sibling(model, "int8")
    own = {sha256(model): name} | ({sha256(int8): f"{name}-int8"} if int8.exists() else {})
    if not own.keys() <= {row.get("model_sha256") for row in report["systems"]}:
        raise SedkitError(
            f"{path}: not of this model, or not of its int8 form; measure anew with training.evaluate timelines, "
            "or remove it"
        )
    recipe = report.get("recipe") or {}
    if (recipe.get("manifest_sha256"), report["split"]) != (run.data, "test"):
        raise SedkitError(
            f"{path}: of recordings that training.data soundscapes has not mixed from the run's own test clips; "
            "measure anew on such, or remove it"
        )
    rows = [row | {"system": own.get(row["model_sha256"], row["system"])} for row in report["systems"]]
    return report | {"systems": [row for row in rows if row["model_sha256"] in (None, *own)]}


def timelines_section(report: dict[str, Any]) -> list[str]:
    """What is heard when, in mixtures of test clips."""
    return [
        "## What is heard when",
        "",
        *timelines_table(report),
        "",
        "All classes count the same. An event is right if it begins within 200 ms of the true one and ends within 200 "
        "ms, or half of the length, of it; PSDS1 wants exact times, PSDS2 the right class, over all thresholds (DCASE "
        "task 4).",
        "",
    ]


def timelines_table(report: dict[str, Any]) -> list[str]:
    """A sentence on the recordings, and the table."""
    recipe, recordings = report["recipe"], report["recordings"]
    fewest, most = recipe["events"]
    rows = [[row["system"], *(three(row[key]) for key in COLUMNS)] for row in report["systems"]]
    peer = " (0.5 for YAMNet, which has none)" if any(row["model_sha256"] is None for row in report["systems"]) else ""
    return [
        f"In {recordings} recordings of {recipe['seconds']:g} s, each mixed from {fewest} to {most} test clips, in "
        f"which {report['events']} sounds of {report['classes']} classes begin and end; F1 at each one's own "
        f"thresholds{peer}:",
        "",
        *table(["", *COLUMNS.values()], rows).splitlines(),
    ]


def commands(report: dict[str, Any], run: str, manifest: str) -> list[str]:
    """Those that measure it again: the recordings are made, and listened to."""
    made, models = shlex.quote(report["soundscapes"]), [f"{run}/model.onnx"]
    if any(row["system"].endswith("-int8") for row in report["systems"]):
        models.append(f"{run}/model-int8.onnx")
    peer = " --peer yamnet=yamnet.tflite" if any(row["model_sha256"] is None for row in report["systems"]) else ""
    return [
        f"data soundscapes {manifest} {_options(report['recipe'])} --output {made}",
        f"evaluate timelines {' '.join(models)} {made}{peer} --json {run}/timelines.json",
    ]


def _options(recipe: dict[str, Any]) -> str:
    """Of training.data soundscapes, those that are not what it takes by itself."""
    usual = json.loads(json.dumps(asdict(Recipe())))
    told = [*([f"--split {recipe['split']}"] if recipe.get("split") else []), f"--count {recipe['count']}"]
    for key, option in OPTIONS.items():
        if recipe[key] != usual[key]:
            values = recipe[key] if isinstance(recipe[key], list) else [recipe[key]]
            told.append(" ".join([f"--{option}", *(f"{value:g}" for value in values)]))
    told += [f"--background {shlex.quote(name)}" for name in recipe["backgrounds"]]
    return " ".join([*told, *([f"--seed {recipe['seed']}"] if recipe["seed"] else [])])
