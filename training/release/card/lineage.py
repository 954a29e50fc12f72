"""Where a model's network comes from: its cascade, earlier runs, targets and external teachers."""

from __future__ import annotations

from typing import Any

from training.runs.config import read_config
from training.runs.reports import describe
from training.runs.run import Run

OTHER_CLIPS = "the test clips of that run"  # of an earlier one with another manifest


def origin(run: Run, rows: list[dict[str, Any]]) -> str:
    """What the last network is: its place in the cascade, and its warm start.

    ``rows``: reports of all generations.
    """
    students, begun = len(rows) - 1, read_config(run.directory).get("begun_with")
    start = ""
    if begun:
        name = begun["network"]
        start = "fine-tuned from " + (f"the {name}" if "model_sha256" in begun else f"an earlier run ({name})")
    if students:
        return f"student {students} of a SeCoST cascade" + (f", all of whose networks were {start}" if begun else "")
    return f"a network {start}" if begun else "Teacher-0, without students"


def epoch_was_chosen(run: Run) -> bool:
    """Whether the epoch was chosen among several, in this run or one that it was fine-tuned from."""
    config = read_config(run.directory)
    settings = (one["settings"] for one in [*earlier_runs(config), config] if "settings" in one)
    return any(one["validate_every"] < one["epochs"] for one in settings)


def earlier_runs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs and models that a run was fine-tuned from (``--fine-tune wels=``), the earliest first.

    A model's entry comes from its file. It has no command, and old files lack settings and teachers.
    """
    begun = config.get("begun_with")
    return [*earlier_runs(begun), begun] if begun else []


def commands(config: dict[str, Any]) -> list[str]:
    """The commands that train a run's networks: those of earlier runs, and its own."""
    lines = []
    for one in earlier_runs(config):
        lines += [one["command"]] if "command" in one else []
        if "model_sha256" in one:
            lines.append(f"# fine-tunes from the file of {one['run']} with SHA-256 {one['model_sha256']}:")
    return [*lines, config["command"]]


def supervision_lines(run: Run, tested: str) -> list[str]:
    """Sentences on targets and external teachers; empty for a run that learned from labels and its own cascade only.

    Earlier runs with the same targets and teachers share a sentence.

    ``tested``: what to call the run's test clips.
    """
    config = read_config(run.directory)
    lines = []
    for one in earlier_runs(config):
        same = one.get("manifest_sha256") == config["manifest_sha256"]
        lines += _targets(one, "In an earlier run, the", tested if same else OTHER_CLIPS)
    lines = [*dict.fromkeys(lines), *_targets(config, "In this run, the" if lines else "The", tested)]
    if run.settings.teachers_hear == "sounds":
        lines.append(
            "The training recordings are mixtures of up to four overlapping clips. The targets are segment-level, from "
            "teachers that scored the isolated clips."
        )
    return [*lines, ""] if lines else []


def _targets(config: dict[str, Any], subject: str, tested: str) -> list[str]:
    """Target weights of every generation, and the external teachers with their metrics."""
    teachers = config.get("teachers") or {}
    if not teachers:
        return []
    stages = [describe(stage) for stage in config["supervision"]]
    if len(stages) > 1:
        stages = [f"{stage} ({f'Student {number}' if number else 'Teacher-0'})" for number, stage in enumerate(stages)]
    lines = [f"{subject} targets were {', '.join(stages)}."]
    for name, about in teachers.items():
        metrics = ", ".join(f"{key} {value:.3f}" for key, value in about["metrics"].get("test", {}).items())
        lines[0] += f" {name} is {about['teacher']}" + (f", with {metrics} on {tested}." if metrics else ".")
    return lines
