"""Timing: contenders run in turn on the same recording, and rows report the ratios of their times.

A round gives every contender the same input, one after another. The next round has a new input and the opposite order.
A row's values are one ratio per round, so a temporary slowdown of the machine affects both sides of a ratio.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from benchmarks.audio import Recordings

T = TypeVar("T")

SETTLE = 0.05  # seconds between contenders, for the thread pool of the first to go to sleep


class Unavailable(Exception):
    """A benchmark cannot run here; the message says what is missing and how to get it."""


@contextmanager
def packages() -> Iterator[None]:
    """Turn the import error of an optional package into :class:`Unavailable`."""
    try:
        yield
    except ImportError as error:  # includes importlib.metadata's PackageNotFoundError
        raise Unavailable(f"needs {error.name}: pip install '.[benchmarks]'") from None


@dataclass(frozen=True)
class Setup:
    """Input of every benchmark.

    Attributes
    ----------
    recordings : recordings to measure on.
    scratch : an empty folder that is deleted afterwards.
    repeats : number of rounds.
    quick : check only that everything runs, with short recordings and a narrow network.
    threads : CPUs that this process may use.
    """

    recordings: Recordings
    scratch: Path
    repeats: int
    quick: bool
    threads: int


@dataclass(frozen=True)
class Timed:
    """Time and result of a contender."""

    seconds: float
    result: Any


Round: TypeAlias = dict[Any, Timed]  # by contender


def race(contenders: Mapping[Any, Callable[[T], Any]], inputs: Iterable[T], warm_up: T) -> list[Round]:
    """Time all contenders on each input, one round per input. Each first runs once on ``warm_up``, not timed."""
    for run in contenders.values():
        run(warm_up)
    rounds = []
    for number, item in enumerate(inputs):
        names = list(contenders)[:: -1 if number % 2 else 1]
        rounds.append({name: timed(contenders[name], item) for name in names})
    return rounds


def timed(run: Callable[[T], Any], item: T) -> Timed:
    time.sleep(SETTLE)
    start = time.perf_counter()
    result = run(item)
    return Timed(time.perf_counter() - start, result)


def ratios(rounds: Sequence[Round], upper: Any, lower: Any) -> list[float]:
    """Time of ``upper`` divided by time of ``lower``, per round: how many times faster ``lower`` is."""
    return [one[upper].seconds / one[lower].seconds for one in rounds]


def seconds(rounds: Sequence[Round], name: Any) -> float:
    """The median time of a contender."""
    return statistics.median(one[name].seconds for one in rounds)


@dataclass(frozen=True)
class Goal:
    """A bound on a row's value."""

    kind: Literal["at least", "at most"]
    limit: float

    def met(self, value: float) -> bool:
        return value >= self.limit if self.kind == "at least" else value <= self.limit


def at_least(limit: float) -> Goal:
    return Goal("at least", limit)


def at_most(limit: float) -> Goal:
    return Goal("at most", limit)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    number : number of the benchmark.
    name : what is measured; "a / b" for a ratio.
    values : one per round, or one per case.
    unit : ``"x"`` (a ratio), ``"%"``, ``"MB"`` or ``""`` (a difference of scores).
    figure : the absolute figures behind the value, as text; or why there is no value.
    goal : bound on the value; None if there is none.
    summary : how the values are reduced to one: their median, or the largest.
    details : further figures for the JSON file.
    """

    number: int
    name: str
    values: Sequence[float] = ()
    unit: Literal["x", "%", "MB", ""] = "x"
    figure: str = ""
    goal: Goal | None = None
    summary: Literal["median", "largest"] = "median"
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        if not self.values:
            return None
        return max(self.values) if self.summary == "largest" else statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the value meets the goal; None if there is no goal or no value."""
        return None if self.goal is None or self.value is None else self.goal.met(self.value)
