"""The card's section on timelines, from RUN/timelines.json of ``sedkit-train evaluate timelines --json``."""

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
from training.runtime.files import readable, sha256

COLUMNS = {
    "mAP": "tags, mAP",
    "tag_f1": "tags, F1",
    "segment_f1": "segments of 1 s, F1",
    "event_f1": "events, F1",
    "PSDS1": "PSDS1",
    "PSDS2": "PSDS2",
}
OPTIONS = {  # field of Recipe: option of ``sedkit-train data soundscapes``
    "seconds": "seconds",
    "events": "events",
    "longest": "longest",
    "overlap": "overlap",
    "snr": "snr",
    "background": "level",
    "bouts": "bouts",
}


def read_timelines(run: Run, model: Path, name: str) -> dict[str, Any] | None:
    """The results of ``model``, its int8 version and YAMNet, under their published names; None without the file.

    ``name``: the model's published name.

    Raises
    ------
    SedkitError
        If the file cannot be read, the model was not measured, or the recordings are not mixed from the run's own test
        clips.
    """
    path = run.directory / "timelines.json"
    if not path.exists():
        return None
    int8, remedy = sibling(model, "int8"), "repeat sedkit-train evaluate timelines, or remove the file"
    own = {sha256(model): name} | ({sha256(int8): f"{name}-int8"} if int8.exists() else {})
    with readable(path, remedy):
        report: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if not own.keys() <= {row.get("model_sha256") for row in report["systems"]}:
            raise SedkitError(f"{path}: measured on another model or another int8 version: {remedy}")
        recipe = report.get("recipe") or {}
        if (recipe.get("manifest_sha256"), report["split"]) != (run.data, "test"):
            raise SedkitError(
                f"{path}: the soundscapes are not mixed from the run's own test clips: mix them with sedkit-train data "
                "soundscapes --split test and measure again, or remove the file"
            )
        rows = {row["model_sha256"]: row for row in reversed(report["systems"])}  # a model's own settings come first
        shown = [hashed for hashed in reversed(rows) if hashed in (None, *own)]
        report["systems"] = [rows[hashed] | {"system": own.get(hashed, rows[hashed]["system"])} for hashed in shown]
        timelines_table(report)  # what is missing is found here
        commands(report, "", "")
    return report


def timelines_section(report: dict[str, Any]) -> list[str]:
    """Metrics of tags and events in mixtures of test clips."""
    return [
        "## Timelines",
        "",
        *timelines_table(report),
        "",
        "All values are means over classes. An event is right if its onset is within 200 ms of the true onset and its "
        "offset within 200 ms, or half the event's length, of the true offset. PSDS1 rewards exact times and PSDS2 the "
        "right class; both cover all thresholds (DCASE task 4).",
        "",
    ]


def timelines_table(report: dict[str, Any]) -> list[str]:
    """Sentences on the recordings, and the table."""
    recipe, recordings = report["recipe"], report["recordings"]
    fewest, most = recipe["events"]
    rows = [[row["system"], *(three(row[key]) for key in COLUMNS)] for row in report["systems"]]
    peer = " (0.5 for YAMNet, which has none)" if any(row["model_sha256"] is None for row in report["systems"]) else ""
    return [
        f"Measured on {recordings} recordings of {recipe['seconds']:g} s, each mixed from {fewest} to {most} test "
        f"clips, with {report['events']} events of {report['classes']} classes. F1 uses each system's own "
        f"thresholds{peer}:",
        "",
        *table(["", *COLUMNS.values()], rows).splitlines(),
    ]


def commands(report: dict[str, Any], run: str, manifest: str) -> list[str]:
    """Commands, without ``sedkit-train``, that make the recordings and measure again."""
    folder, models = shlex.quote(report["soundscapes"]), [f"{run}/model.onnx"]
    if any(row["system"].endswith("-int8") for row in report["systems"]):
        models.append(f"{run}/model-int8.onnx")
    peer = " --peer yamnet=yamnet.tflite" if any(row["model_sha256"] is None for row in report["systems"]) else ""
    return [
        f"data soundscapes {manifest} {_options(report['recipe'])} --output {folder}",
        f"evaluate timelines {' '.join(models)} {folder}{peer} --json {run}/timelines.json",
    ]


def _options(recipe: dict[str, Any]) -> str:
    """Options of ``sedkit-train data soundscapes`` that differ from its defaults."""
    default = json.loads(json.dumps(asdict(Recipe())))
    options = [*([f"--split {recipe['split']}"] if recipe.get("split") else []), f"--count {recipe['count']}"]
    for key, option in OPTIONS.items():
        if recipe.get(key, default[key]) != default[key]:
            values = recipe[key] if isinstance(recipe[key], list) else [recipe[key]]
            options.append(" ".join([f"--{option}", *(f"{value:g}" for value in values)]))
    options += [f"--background {shlex.quote(name)}" for name in recipe["backgrounds"]]
    return " ".join([*options, *([f"--seed {recipe['seed']}"] if recipe["seed"] else [])])
