"""Finished runs side by side: the networks that they hold, by what these learnt from, over seeds."""

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
from training.evaluate.tables.paper import Alphas
from training.runs.config import RunError, read_config
from training.runs.reports import describe
from training.supervision.equations import LABELS

SAME = ("manifest_sha256", "labels", "settings", "teachers", "begun_sha256")  # in runs that are compared
SAID = ("date", "git_revision", "device", "clips", "seed", *SAME[:3])  # in config.json of every run
BOUNDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0)  # of Fig. 4
Line = tuple[str, ...]  # what a network and its forebears learnt from, Teacher-0 first


class ReportError(SedkitError):
    """Runs cannot be reported."""


@dataclass(frozen=True)
class Spread:
    """A number of several seeds: mean and sample standard deviation (NaN of one)."""

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
    """Runs on the same data with the same settings.

    Attributes
    ----------
    configs : ``config.json`` of every run.
    networks : by what they learnt from, then by seed: reports of a network's forebears, Teacher-0 first, and its own.
        A network that several runs hold counts once.
    cascades : what the last network of a run learnt from, with the run's name.
    """

    configs: list[dict[str, Any]] = field(default_factory=list)
    networks: dict[Line, dict[int, list[dict[str, Any]]]] = field(default_factory=dict)
    cascades: dict[Line, str] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The split that is reported: the test split, unless a run has none."""
        reports = [row for seeds in self.networks.values() for rows in seeds.values() for row in rows]
        return "test" if all("test" in row for row in reports) else "validation"

    def metric(self, line: Line, name: str, split: str = "") -> Spread:
        """``mAP`` or ``mAUC`` of a network over its seeds."""
        seeds = self.networks[line].values()
        return Spread.of([number(rows[-1][split or self.split][name]) for rows in seeds])

    def gain(self, line: Line) -> Spread:
        """Relative change of mAP from Teacher-0 to a network, seed by seed."""
        seeds = self.networks[line].values()
        pairs = ([number(rows[place][self.split]["mAP"]) for place in (0, -1)] for rows in seeds)
        return Spread.of([relative(before, after) for before, after in pairs])

    def classes(self, line: Line) -> tuple[dict[str, float], dict[str, float]]:
        """AP of every class by Teacher-0 and by a network, means over its seeds; NaN where a class has none."""
        found: list[dict[str, list[float]]] = [{}, {}]
        for rows in self.networks[line].values():
            for held, row in zip(found, (rows[0], rows[-1]), strict=True):
                for entry in row[self.split]["classes"]:
                    held.setdefault(entry["label"], []).append(number(entry["AP"]))
        before, after = ({label: fmean(aps) for label, aps in held.items()} for held in found)
        return before, after

    def best(self) -> Line:
        """The student that is best on the validation split; Teacher-0 where there are no students."""
        students = [line for line in self.networks if len(line) > 1] or list(self.networks)
        return max(students, key=lambda line: self.metric(line, "mAP", "validation").mean)

    def method(self, line: Line) -> str:
        """What a cascade is called."""
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
        """What the best student is called."""
        line = self.best()
        return f"{self.method(line)}, student {len(line) - 1}"

    def points(self) -> list[tuple[float, Line]]:
        """Fig. 2, left: first students, after the teacher's share 1 - alpha."""
        found = [(alphas(line), line) for line in self.networks if len(line) == 2]
        return sorted((1 - known[0], line) for known, line in found if known is not None)

    def by_range(self) -> list[tuple[float, float, int, float]]:
        """Fig. 4: range of AP by Teacher-0, classes in it, relative change of their mean AP to the best student."""
        before, after = self.classes(self.best())
        found = []
        for low, high in pairwise(BOUNDS):
            inside = [name for name, ap in before.items() if low <= ap < high or ap == high == 1]
            means = [fmean(held[name] for name in inside) if inside else math.nan for held in (before, after)]
            found.append((low, high, len(inside), relative(*means)))
        return found


def studies(runs: Sequence[Path]) -> tuple[list[Study], list[str]]:
    """The runs, those that can be compared together; and why others cannot be read."""
    found: dict[str, Study] = {}
    faults = []
    for run in runs:
        try:
            config, rows = read_config(run), _read(run / "report.json")
            if missing := [key for key in SAID if key not in config]:
                raise ReportError(f"{run}: config.json lacks {', '.join(missing)}; it is of an earlier revision")
            study = found.setdefault(json.dumps([config.get(key) for key in SAME]), Study())
            line: Line = ()
            for stage, row in enumerate(rows):
                line = (*line, _learnt_from(row["supervision"]))
                study.networks.setdefault(line, {}).setdefault(config["seed"], rows[: stage + 1])
            study.cascades.setdefault(line, run.name.removesuffix(f"-seed{config['seed']}"))
            study.configs.append(config)
        except (ReportError, RunError) as error:
            faults.append(str(error))
        except (KeyError, TypeError, AttributeError) as error:
            faults.append(f"{run}: is not a run's ({error!r})")
    return list(found.values()), faults


def alphas(line: Line) -> Alphas | None:
    """Shares of the labels, stage by stage; None where a network has other teachers than the one before it."""
    found = []
    for stage, text in enumerate(line):
        learnt = json.loads(text)
        if learnt.keys() - {LABELS, str(stage - 1)}:
            return None
        found.append(learnt.get(LABELS, 0.0))
    return tuple(found[1:]) if found[0] == 1 else None


def supervision(line: Line) -> str:
    """What the last network learnt from, to read."""
    return describe(json.loads(line[-1]))


def relative(before: float, after: float) -> float:
    """Change as a share of what was there; NaN if that was nothing."""
    return (after - before) / before if before else math.nan


def number(value: float | None) -> float:
    """A metric as reports hold it."""
    return math.nan if value is None else value


def _learnt_from(weights: dict[str, float]) -> str:
    ordered = sorted(weights.items(), key=lambda item: (item[0] != LABELS, item[0]))
    return json.dumps({key: round(weight, 6) for key, weight in ordered})


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}; is the run finished?") from None
    except ValueError:
        raise ReportError(f"{path}: is damaged") from None
