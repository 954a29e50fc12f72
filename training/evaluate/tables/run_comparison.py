"""Finished runs compared: their networks grouped by supervision and averaged over seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sedkit.errors import SedkitError
from training.evaluate.tables.paper_results import Alphas
from training.runs.config import RunError, read_config
from training.runs.reports import describe
from training.supervision.equations import LABELS

STUDY_KEYS = ("manifest_sha256", "labels", "settings", "teachers", "begun_sha256")  # equal in all runs of a study
REQUIRED_KEYS = ("date", "git_revision", "device", "clips", "seed", *STUDY_KEYS[:3])  # of config.json
BOUNDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0)  # ranges of AP in Fig. 4
Line = tuple[str, ...]  # JSON of the target weights of Teacher-0 and every student up to a network


class ReportError(SedkitError):
    """No report can be made of the runs."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; the deviation of one seed is NaN."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        values = [value for value in values if not math.isnan(value)]
        if not values:
            return cls(math.nan, math.nan, 0)
        return cls(fmean(values), stdev(values) if len(values) > 1 else math.nan, len(values))

    def text(self, form: str = ".3f") -> str:
        """``0.352 ± 0.004``."""
        if not self.seeds:
            return "-"
        return f"{self.mean:{form}}" + (f" ± {self.deviation:{form.lstrip('+')}}" if self.seeds > 1 else "")


@dataclass
class Study:
    """Runs with the same data and the same settings.

    Attributes
    ----------
    configs : ``config.json`` of every run.
    networks : ``{line: {seed: reports}}``, the reports of all generations from Teacher-0 up to the network. A network
        that several runs share counts once.
    cascades : ``{line of the last network: name of the run}``.
    """

    configs: list[dict[str, Any]] = field(default_factory=list)
    networks: dict[Line, dict[int, list[dict[str, Any]]]] = field(default_factory=dict)
    cascades: dict[Line, str] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The reported split: test, or validation if a run has no test split."""
        reports = [row for seeds in self.networks.values() for rows in seeds.values() for row in rows]
        return "test" if all("test" in row for row in reports) else "validation"

    def metric(self, line: Line, name: str, split: str = "") -> Spread:
        """``mAP`` or ``mAUC`` of a network over seeds."""
        seeds = self.networks[line].values()
        return Spread.of([number(rows[-1][split or self.split][name]) for rows in seeds])

    def gain(self, line: Line) -> Spread:
        """Relative change of mAP from Teacher-0 to a network, computed per seed."""
        seeds = self.networks[line].values()
        pairs = ([number(rows[place][self.split]["mAP"]) for place in (0, -1)] for rows in seeds)
        return Spread.of([relative(before, after) for before, after in pairs])

    def classes(self, line: Line) -> tuple[dict[str, float], dict[str, float]]:
        """AP of every class under Teacher-0 and under a network, means over seeds; NaN where AP is undefined."""
        both: list[dict[str, list[float]]] = [{}, {}]
        for rows in self.networks[line].values():
            for by_label, row in zip(both, (rows[0], rows[-1]), strict=True):
                for entry in row[self.split]["classes"]:
                    by_label.setdefault(entry["label"], []).append(number(entry["AP"]))
        before, after = ({label: fmean(aps) for label, aps in by_label.items()} for by_label in both)
        return before, after

    def best(self) -> Line:
        """The student with the highest validation mAP; Teacher-0 if there is no student."""
        students = [line for line in self.networks if len(line) > 1] or list(self.networks)
        return max(students, key=lambda line: self.metric(line, "mAP", "validation").mean)

    def method(self, line: Line) -> str:
        """Display name of a cascade."""
        known = alphas(line)
        if known == ():
            return "WELS-Net (Teacher-0)"
        if known is None:
            names = [name for cascade, name in self.cascades.items() if cascade[: len(line)] == line]
            return f"several teachers (Eq. 6), {names[0]}"
        if set(known) == {0.0}:
            return "teachers only (alpha 0)"
        return "SeCoST, alpha " + ", ".join(f"{alpha:g}" for alpha in (known[:1] if len(set(known)) == 1 else known))

    def chosen(self) -> str:
        """Display name of the best student."""
        line = self.best()
        return f"{self.method(line)}, student {len(line) - 1}"

    def first_students(self) -> list[tuple[float, Line]]:
        """Points of Fig. 2 (left): the teacher's weight 1 - alpha and the line of every first student."""
        students = [(alphas(line), line) for line in self.networks if len(line) == 2]
        return sorted((1 - known[0], line) for known, line in students if known is not None)

    def by_range(self) -> list[tuple[float, float, int, float]]:
        """Bars of Fig. 4: lower and upper AP under Teacher-0, number of classes, relative change of their mean AP."""
        before, after = self.classes(self.best())
        bars = []
        for low, high in pairwise(BOUNDS):
            inside = [name for name, ap in before.items() if low <= ap < high or ap == high == 1]
            means = [fmean(aps[name] for name in inside) if inside else math.nan for aps in (before, after)]
            bars.append((low, high, len(inside), relative(*means)))
        return bars


def studies(runs: Sequence[Path]) -> tuple[list[Study], list[str]]:
    """Group runs into studies. Returns the studies, and one message for every run that cannot be read."""
    by_key: dict[str, Study] = {}
    problems = []
    for run in runs:
        try:
            config, rows = read_config(run), _read(run / "report.json")
            if missing := [key for key in REQUIRED_KEYS if key not in config]:
                raise ReportError(
                    f"{run}: config.json lacks {', '.join(missing)}: an earlier revision wrote it; repeat the run"
                )
            study = by_key.setdefault(json.dumps([config.get(key) for key in STUDY_KEYS]), Study())
            line: Line = ()
            for stage, row in enumerate(rows):
                line = (*line, _canonical(row["supervision"]))
                study.networks.setdefault(line, {}).setdefault(config["seed"], rows[: stage + 1])
            study.cascades.setdefault(line, run.name.removesuffix(f"-seed{config['seed']}"))
            study.configs.append(config)
        except (ReportError, RunError) as error:
            problems.append(str(error))
        except (KeyError, TypeError, AttributeError) as error:
            problems.append(f"{run}: config.json or report.json is not that of a run ({error!r})")
    return list(by_key.values()), problems


def alphas(line: Line) -> Alphas | None:
    """Alpha, the labels' weight, of every stage; None if a network has teachers other than its predecessor."""
    shares = []
    for stage, text in enumerate(line):
        weights = json.loads(text)
        if weights.keys() - {LABELS, str(stage - 1)}:
            return None
        shares.append(weights.get(LABELS, 0.0))
    return tuple(shares[1:]) if shares[0] == 1 else None


def supervision(line: Line) -> str:
    """Target weights of the last network, such as ``0.3 labels + 0.7 T0``."""
    return describe(json.loads(line[-1]))


def relative(before: float, after: float) -> float:
    """Relative change; NaN if ``before`` is 0."""
    return (after - before) / before if before else math.nan


def number(value: float | None) -> float:
    """A metric of a JSON report; NaN for null."""
    return math.nan if value is None else value


def _canonical(weights: dict[str, float]) -> str:
    """Target weights as JSON with sorted keys, labels first: equal supervision gives equal text."""
    ordered = sorted(weights.items(), key=lambda item: (item[0] != LABELS, item[0]))
    return json.dumps({key: round(weight, 6) for key, weight in ordered})


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}: finish the run first") from None
    except ValueError:
        raise ReportError(f"{path}: not valid JSON: resume the run to write it again") from None
