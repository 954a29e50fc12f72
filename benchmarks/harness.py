"""The measuring itself: contenders take turns on the same recording, and a row is made of what they took.

One round gives every contender the same input, one after another; the next round gives all of them a fresh one,
in the opposite order. A row's values are the rounds' ratios, so that a slow minute of the machine weighs on both
sides of a ratio.
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

SETTLE = 0.05  # seconds between two contenders, in which the thread pool of the first goes to sleep


class Unavailable(Exception):
    """Something cannot be measured here; the message says what is missing and how to get it."""


@contextmanager
def packages() -> Iterator[None]:
    """What a plain installation lacks is said in one line."""
    try:
        yield
    except ImportError as error:  # importlib.metadata's PackageNotFoundError is one, too
        raise Unavailable(f"needs {error.name}: pip install '.[benchmarks]'") from None


@dataclass(frozen=True)
class Setup:
    """What every benchmark is given.

    Attributes
    ----------
    recordings : real sound to measure on.
    scratch : an empty folder that is deleted afterwards.
    repeats : rounds.
    quick : whether the point is only that everything runs: short recordings, a narrow network.
    threads : CPUs that this process may use.
    """

    recordings: Recordings
    scratch: Path
    repeats: int
    quick: bool
    threads: int


@dataclass(frozen=True)
class Timed:
    """What a contender took and what it returned."""

    seconds: float
    result: Any


Round: TypeAlias = dict[Any, Timed]  # by contender


def race(contenders: Mapping[Any, Callable[[T], Any]], inputs: Iterable[T], warm_up: T) -> list[Round]:
    """One round per input; every contender runs once on ``warm_up`` first, unmeasured."""
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
    """Time of ``upper`` over time of ``lower``, one a round: how many times faster ``lower`` is."""
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
    """One line of the table.

    Attributes
    ----------
    number : of the benchmark it belongs to.
    name : what is measured; of a ratio, "a / b".
    values : one a round, or one a case.
    unit : ``"x"`` (a ratio), ``"%"``, ``"MB"`` or ``""`` (a difference of scores).
    figure : the absolute figures behind the value, for a person; or why there is no value.
    goal : None where there is none.
    summary : what of the values counts: their median, or the largest.
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
        """None if there is no goal, or no value."""
        return None if self.goal is None or self.value is None else self.goal.met(self.value)
