"""Networks that two runs have in common are trained once: Teacher-0 of a sweep over alpha, say.

A generation depends on data, classes, settings, seed and the supervision of the generations up to it. Where all
of these are the same in a run that lies beside, its networks and reports are copied; ``reused.json`` says from where.
"""

from __future__ import annotations

from pathlib import Path

from training.runtime.files import replacing, write_json
from training.runs.config import RunError, read_config
from training.runs.run import Run
from training.runs.split_scores import NAME as SCORES
from training.supervision.equations import LABELS

SAME = ("manifest_sha256", "labels", "settings", "begun_sha256", "seed", "versions", "device", "processes")
KEPT = ("report.json", "metrics.jsonl", "network.pt")


def reuse(run: Run, directory: Path) -> list[str]:
    """Copy what ``run`` would train again from the runs in ``directory``; returns a line for each generation.

    Only one process may call this, before the run's first network is trained.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    config, lines = read_config(run.directory), []
    for path in sorted(directory.glob("*/config.json")):
        other = path.parent
        try:
            theirs = read_config(other)
        except RunError:
            continue
        if other.resolve() == run.directory.resolve() or any(config.get(key) != theirs.get(key) for key in SAME):
            continue
        for generation in range(shared(config["supervision"], theirs["supervision"])):
            if _take(run, other, generation):
                lines.append(f"generation {generation} is that of {other}")
    return lines


def shared(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> int:
    """How many generations two cascades have in common. External teachers are strangers to each other."""
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other or not all(key == LABELS or key.isdigit() for key in one):
            return number
    return min(len(ours), len(theirs))


def _take(run: Run, other: Path, generation: int) -> bool:
    """Copy a generation of ``other``, unless that one is not finished or the run has begun one."""
    source, here = other / f"generation-{generation}", run.generation(generation)
    if any((here / name).exists() for name in ("network.pt", "checkpoint.pt")):
        return False
    if not all((source / name).exists() for name in KEPT):
        return False
    frontend = run.directory / "frontend.pt"
    if not frontend.exists():
        _copy(other / "frontend.pt", frontend)
    elif frontend.read_bytes() != (other / "frontend.pt").read_bytes():
        return False
    for name in (*KEPT[:2], SCORES):
        if (source / name).exists():  # earlier runs kept no scores
            _copy(source / name, here / name)
    write_json(here / "reused.json", {"run": str(other), "git_revision": read_config(other)["git_revision"]})
    _copy(source / KEPT[2], here / KEPT[2])  # last: it says that the generation is trained
    return True


def _copy(source: Path, to: Path) -> None:
    with replacing(to) as temporary:
        temporary.write_bytes(source.read_bytes())
