"""Train networks that two runs have in common once: Teacher-0 of a sweep over alpha, for instance.

A generation depends on the data, the classes, the settings, the seed and the supervision of the generations up to it.
If all of these are the same in another run, its networks and reports are copied; ``reused.json`` records the source.
Teacher-0 on labels does not depend on the settings of teachers and students.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.runs.config import RunError, read_config
from training.runs.run import Run
from training.runs.split_scores import NAME as SCORES
from training.runtime.files import replacing, write_json
from training.supervision.equations import LABELS

SAME = ("manifest_sha256", "labels", "begun_sha256", "seed", "versions", "device", "processes")
OF_STUDENTS = ("students", "temperatures", "views")  # settings that Teacher-0 on labels does not depend on
FILES = ("report.json", "metrics.jsonl", "network.pt")


def reuse(run: Run, directory: Path) -> list[str]:
    """Copy generations that ``run`` would train again from the runs in ``directory``; returns a line for each.

    Call it from one process, before the run's first network is trained.

    Raises
    ------
    OutputError
        If a copy cannot be written.
    """
    config, lines = read_config(run.directory), []
    for path in sorted(directory.glob("*/config.json")):
        other = path.parent
        try:
            other_config = read_config(other)
        except RunError:
            continue
        if other.resolve() == run.directory.resolve() or any(config.get(key) != other_config.get(key) for key in SAME):
            continue
        count = shared(config["supervision"], other_config["supervision"])
        if config["settings"] != other_config["settings"]:
            count = min(count, int(_of_labels(config["settings"]) == _of_labels(other_config["settings"])))
        for generation in range(count):
            if _copy_generation(run, other, generation):
                lines.append(f"generation {generation} is that of {other}")
    return lines


def shared(one: list[dict[str, float]], other: list[dict[str, float]]) -> int:
    """Number of generations that two cascades have in common. External teachers are never the same."""
    for number, (stage, other_stage) in enumerate(zip(one, other, strict=False)):
        if stage != other_stage or not all(key == LABELS or key.isdigit() for key in stage):
            return number
    return min(len(one), len(other))


def _of_labels(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a network on labels depends on. It has no teachers that could hear clips or views."""
    own = {name: value for name, value in settings.items() if name not in OF_STUDENTS}
    return own | {"teachers_hear": "clip" if own["teachers_hear"] == "view" else own["teachers_hear"]}


def _copy_generation(run: Run, other: Path, generation: int) -> bool:
    """Copy a generation of ``other``, unless it is not finished or the run has started its own."""
    source, target = other / f"generation-{generation}", run.generation(generation)
    if any((target / name).exists() for name in ("network.pt", "checkpoint.pt")):
        return False
    if not all((source / name).exists() for name in FILES):
        return False
    frontend = run.directory / "frontend.pt"
    if not frontend.exists():
        _copy(other / "frontend.pt", frontend)
    elif frontend.read_bytes() != (other / "frontend.pt").read_bytes():
        return False
    for name in (*FILES[:2], SCORES):
        if (source / name).exists():  # older runs have no scores
            _copy(source / name, target / name)
    write_json(target / "reused.json", {"run": str(other), "git_revision": read_config(other)["git_revision"]})
    _copy(source / FILES[2], target / FILES[2])  # last: its presence says that the generation is trained
    return True


def _copy(source: Path, to: Path) -> None:
    with replacing(to) as temporary:
        temporary.write_bytes(source.read_bytes())
