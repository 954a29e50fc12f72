"""Which generation a run exports, and how its generations compare on the validation split.

The paper's result is the last student. On small sets a student can fall behind its teacher, and the last one is then
not the one to keep: with ``--export best``, the run exports the generation with the highest validation mAP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sedkit.judging.bootstrap import mean_ap, resampling_weights
from training.data.manifest.naming import recordings
from training.runs.config import read_config
from training.runs.reports import read_generation
from training.runs.run import Run
from training.runs.split_scores import read_split_scores
from training.supervision.equations import latest_generation

Export = Literal["last", "best"]
REPLICATES = 50  # of the bootstrap that measures the noise of a difference


class Difference(NamedTuple):
    """Validation mAP of a student minus that of its teacher, and the standard error of the difference."""

    student: int
    teacher: int
    change: float
    noise: float

    @property
    def behind(self) -> bool:
        """Whether the student falls behind by more than the noise."""
        return self.change < -self.noise


def chosen_generation(directory: Path, reports: Sequence[dict[str, Any]]) -> int:
    """The generation that the run in ``directory`` exports; the earliest of several that are equally good."""
    if exports(directory) == "last":
        return len(reports) - 1
    return _best(reports)


def exports(directory: Path) -> Export:
    """The choice of the run in ``directory``; older runs have none and export the last generation."""
    choice: Export = read_config(directory)["model"].get("export", "last")
    return choice


def difference(run: Run, student: int) -> Difference | None:
    """A student compared with its latest teacher among the generations; None without one, or without their scores.

    The noise is that of a bootstrap over the recordings of the validation clips, with the same clips for both networks.
    """
    teacher = latest_generation(run.supervision[student])
    if teacher is None:
        return None
    clips = run.clips("validation")
    targets = np.nan_to_num(clips.multi_hot())  # for the noise, unknown counts as absent
    scores = [read_split_scores(run.generation(number), "validation", targets.shape) for number in (student, teacher)]
    if scores[0] is None or scores[1] is None:
        return None
    weights = resampling_weights(recordings(run.manifest.select("validation")), REPLICATES)
    replicates = mean_ap(targets, scores[0], weights) - mean_ap(targets, scores[1], weights)
    ours, theirs = (_validation_map(read_generation(run.generation(number))) for number in (student, teacher))
    return Difference(student, teacher, ours - theirs, float(np.nanstd(replicates)))


def warn_if_behind(run: Run, student: int) -> list[str]:
    """A warning if a student fell behind its teacher; to be shown while the run still goes on."""
    if read_generation(run.generation(student))["best_epoch"] == 0:
        return [
            f"{_name(student)} is its teacher: no epoch was better on the validation split. Fewer --stages or a larger "
            "--alpha may help"
        ]
    found = difference(run, student)
    if found is None or not found.behind:
        return []
    keeps = "the best generation is exported"
    if exports(run.directory) == "last":
        keeps = "the last one is exported even so: --resume with --export best changes that"
    return [
        f"{_name(student)} is behind {_name(found.teacher)}: validation mAP {found.change:+.3f}, noise "
        f"{found.noise:.3f}; {keeps}. Fewer --stages, a larger --alpha or more --epochs may help"
    ]


def verdict(run: Run, reports: Sequence[dict[str, Any]]) -> str:
    """Which generation is best, which is exported, and why."""
    scores = [_validation_map(report) for report in reports]
    best, chosen = _best(reports), chosen_generation(run.directory, reports)
    if not _measured(reports):
        return f"{_name(chosen)}, the last generation, is exported: no validation clip has a class, so none is the best"
    if len(reports) == 1:
        return f"Teacher-0 is exported: validation mAP {scores[0]:.3f}"
    why = "--export best" if chosen == best else "--export last, as in the paper's Algorithm 1"
    if chosen == best == len(reports) - 1:
        why = "it is the last and the best"
    beaten = "" if chosen == best else f"; best is {_name(best)} with {scores[best]:.3f}: --export best would export it"
    return f"{_name(chosen)} is exported ({why}): validation mAP {scores[chosen]:.3f}{beaten}"


def _best(reports: Sequence[dict[str, Any]]) -> int:
    """The generation with the highest validation mAP; the last one if it could not be measured."""
    scores = [_validation_map(report) for report in reports]
    return scores.index(max(scores)) if _measured(reports) else len(reports) - 1


def _measured(reports: Sequence[dict[str, Any]]) -> bool:
    return any(report["validation"]["mAP"] is not None for report in reports)


def _validation_map(report: dict[str, Any]) -> float:
    return report["validation"]["mAP"] or 0.0


def _name(generation: int) -> str:
    return f"student {generation}" if generation else "Teacher-0"
