"""Rules: which sounds are an alert. ``Dog>0.5 for 1s every 60s`` is one in its short form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sedkit import ontology
from sedkit.alerts.schedule import Schedule
from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.selection import LISTED, is_named, suggestion

LONGEST, WIDEST = 3600.0, 7 * 86400.0  # seconds, of "for" and "every"
UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+) *(s|sec|m|min|h)?$")
NUMBER = r"\d+(?:\.\d*)?|\.\d+"
PART = r" +(until|for|every) +([\d.]+(?: *(?!until\b|for\b|every\b)\w+)?)"
SHORT = re.compile(rf"(?P<name>.+?) *(?:>=? *(?P<level>{NUMBER}))?(?P<parts>(?:{PART})*)$")
EXAMPLE = "Dog>0.5 for 1s every 60s"


@dataclass(frozen=True)
class Rule:
    """Which sounds are an alert, and when.

    Attributes
    ----------
    name : unique among the rules.
    classes : names or MIDs. A class stands for all classes below it in AudioSet's ontology, too.
    level : score at which an event of these classes begins; None is their threshold on the timeline.
    until : score below which it ends; None is the share of `level` that the model's post-processing has.
    lasting : seconds; shorter events are no alerts.
    every : seconds; after an alert, the rule gives no other one for so long.
    schedule : when the rule is active.
    actions : names of the actions; None for all.
    """

    name: str
    classes: tuple[str, ...]
    level: float | None = None
    until: float | None = None
    lasting: float = 0.0
    every: float = 0.0
    schedule: Schedule = field(default_factory=Schedule)
    actions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.level is not None and not 0 < self.level <= 1:
            raise ArgumentError(f"level must be above 0 and at most 1, not {self.level:g}")
        if self.until is not None and self.level is None:
            raise ArgumentError("until needs a level")
        if self.until is not None and self.level is not None and not 0 <= self.until <= self.level:
            raise ArgumentError(f"until must be between 0 and the level, {self.level:g}, not {self.until:g}")
        if self.lasting > LONGEST:
            raise ArgumentError(f"for must be at most one hour, not {self.lasting:g} s")
        if self.every > WIDEST:
            raise ArgumentError(f"every must be at most seven days, not {self.every:g} s")


def parse_rule(text: str) -> Rule:
    """A rule in its short form: ``CLASS[>LEVEL] [until LEVEL] [for DURATION] [every DURATION]``, parts in any order.

    Raises
    ------
    ArgumentError
        If the text is none.

    Examples
    --------
    >>> rule = parse_rule("Dog > 0.5 for 1s every 2min")
    >>> rule.classes, rule.level, rule.lasting, rule.every
    (('Dog',), 0.5, 1.0, 120.0)
    """
    match = SHORT.match(text.strip())
    if match is None or re.search(r"[<>=]", match["name"]):
        raise ArgumentError(f"{text!r} is no rule; write for example {EXAMPLE!r}")
    parts = re.findall(PART, match["parts"])
    values = dict(parts)
    try:
        if len(values) < len(parts):
            raise ArgumentError("until, for and every may be given once")
        return Rule(
            match["name"],
            (match["name"],),
            float(match["level"]) if match["level"] else None,
            _level_of(values["until"]) if "until" in values else None,
            seconds_of(values.get("for", "0")),
            seconds_of(values.get("every", "0")),
        )
    except ArgumentError as error:
        raise ArgumentError(f"{text!r}: {error}; write for example {EXAMPLE!r}") from None


def _level_of(text: str) -> float:
    if re.fullmatch(NUMBER, text) is None:
        raise ArgumentError(f"{text!r} is no level")
    return float(text)


def seconds_of(text: str) -> float:
    """Seconds of a duration such as ``"1.5"``, ``"30s"``, ``"5min"`` or ``"1h"``.

    Raises
    ------
    ArgumentError
        If the text is none.
    """
    match = DURATION.match(text.strip())
    if match is None:
        raise ArgumentError(f'{text!r} is no duration; write seconds, or for example "5min" or "1h"')
    return float(match[1]) * UNITS[match[2] or ""]


def numbered(rules: Sequence[Rule]) -> list[Rule]:
    """The rules with a number after names that occur before."""
    from dataclasses import replace

    named, taken = list[Rule](), {rule.name for rule in rules}
    used = set[str]()
    for rule in rules:
        name, number = rule.name, 2
        while name in used:
            name, number = f"{rule.name} {number}", number + 1
            if name in taken:
                name = rule.name
        used.add(name)
        named.append(replace(rule, name=name))
    return named


def columns_of(name: str, labels: Sequence[Label]) -> list[int]:
    """The classes of a model that are a class or lie below it, as positions in its labels.

    Raises
    ------
    ArgumentError
        If there is none; names the nearest.
    """
    known = ontology.load()
    own = [column for column, label in enumerate(labels) if is_named(label, name)]
    mid = labels[own[0]].mid if own else known.find(name)
    below = known.below(mid) if mid is not None else set()
    columns = sorted({*own, *(column for column, label in enumerate(labels) if label.mid in below)})
    if not columns:
        raise ArgumentError(f"{name}: the model has no such class; {suggestion(name, labels) or LISTED}")
    return columns
