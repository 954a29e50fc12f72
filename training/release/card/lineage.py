"""What a card says of where its network comes from: its cascade, the runs before it, and who else taught."""

from __future__ import annotations

from typing import Any

from training.runs.config import read_config
from training.runs.run import Run


def place(run: Run, rows: list[dict[str, Any]]) -> str:
    """Of the last network in its cascade."""
    students, begun = len(rows) - 1, read_config(run.directory).get("begun_with")
    of = "the" if begun and "model_sha256" in begun else "an earlier run's"
    before = f"going on from {of} {begun['network']}" if begun else ""
    if students:
        return f"student {students} of a SeCoST cascade" + (f", each of its networks {before}" if begun else "")
    return f"a network {before}" if begun else "Teacher-0, without students"


def chosen(run: Run) -> bool:
    """Was the epoch that is kept chosen among several, in this run or one that it goes on from?"""
    config = read_config(run.directory)
    settings = (one["settings"] for one in [*earlier_runs(config), config] if "settings" in one)
    return any(one["validate_every"] < one["epochs"] for one in settings)


def earlier_runs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs and models that this one's networks go on from (``--fine-tune wels=``), the first of them first.

    Of a model there is what its file tells: no command, and of files of before they told more no settings and teachers.
    """
    begun = config.get("begun_with")
    return [*earlier_runs(begun), begun] if begun else []


def commands(config: dict[str, Any]) -> list[str]:
    """What to give for a run's networks: the commands of the runs before, and its own."""
    lines = []
    for one in earlier_runs(config):
        lines += [one["command"]] if "command" in one else []
        if "model_sha256" in one:
            lines.append(f"# goes on from the file of {one['run']} with SHA-256 {one['model_sha256']}:")
    return [*lines, config["command"]]


def external_teachers(run: Run, tested: str) -> list[str]:
    """Whom it learned from beside the labels and its own cascade, and how good they are on the run's test split.

    ``tested``: what to call those clips.
    """
    config = read_config(run.directory)
    earlier = [
        line
        for one in earlier_runs(config)
        for line in _teachers(one, "In an earlier run, an external teacher had", tested)
    ]
    lines = [*earlier, *_teachers(config, "An external teacher has", tested)]
    if run.settings.teachers_hear == "sounds":
        lines.append(
            "It learnt segment by segment, from recordings in which up to four training clips are heard over each "
            "other; whoever taught had heard each clip by itself."
        )
    return [*lines, ""] if lines else []


def _teachers(config: dict[str, Any], teacher_has: str, tested: str) -> list[str]:
    lines = []
    for name, about in (config.get("teachers") or {}).items():
        shares = [stage[name] for stage in config["supervision"] if name in stage]
        figures = ", ".join(f"{key} {value:.3f}" for key, value in about["metrics"].get("test", {}).items())
        by_itself = f", by itself with {figures} on {tested}" if figures else ""
        lines.append(
            f"{teacher_has} {' and '.join(f'{share:g}' for share in shares)} of the say beside the labels: "
            f"{name} ({about['teacher']}){by_itself}."
        )
    return lines
