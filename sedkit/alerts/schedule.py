"""When a rule is active: days of the week, times of the day, a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from sedkit.errors import ArgumentError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(7))
TIME = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)$")


@dataclass(frozen=True)
class Schedule:
    """The times at which a rule is active.

    Attributes
    ----------
    days : of the week, 0 is Monday. A period that begins before midnight belongs to the day on which it begins.
    start, stop : of the day; equal ones mean the whole day. If `stop` is earlier, the period ends on the next day.
    zone : time zone; None is that of the computer.
    """

    days: frozenset[int] = EVERY_DAY
    start: time = time()
    stop: time = time()
    zone: tzinfo | None = None

    def __contains__(self, moment: datetime) -> bool:
        """Whether a rule is active at a moment, which has a time zone."""
        local = moment.astimezone(self.zone)
        now, today = local.time(), local.weekday()
        if self.start < self.stop:
            return today in self.days and self.start <= now < self.stop
        if self.start > self.stop and now < self.stop:
            today = (local - timedelta(days=1)).weekday()
            return today in self.days
        return today in self.days and now >= self.start if self.start > self.stop else today in self.days


def days_of(text: str) -> frozenset[int]:
    """Days of the week: ``"mon-fri"``, ``"sat, sun"``, ``"fri-mon"``.

    Raises
    ------
    ArgumentError
        If the text is none of these.

    Examples
    --------
    >>> sorted(days_of("sat-mon"))
    [0, 5, 6]
    """
    days = set[int]()
    for part in text.split(","):
        first, _, last = (name.strip()[:3].lower() for name in part.partition("-"))
        if first not in DAYS or (last and last not in DAYS):
            raise ArgumentError(f'{text!r} are no days; write for example "mon-fri" or "sat, sun"')
        start, stop = DAYS.index(first), DAYS.index(last or first)
        days |= {(start + step) % 7 for step in range((stop - start) % 7 + 1)}
    return frozenset(days)


def time_of(text: str) -> time:
    """A time of the day, ``"22:30"``; ``"24:00"`` is that of midnight.

    Raises
    ------
    ArgumentError
        If the text is none.
    """
    match = TIME.match(text.strip())
    if not match or (match[1] == "24" and match[2] != "00"):
        raise ArgumentError(f'{text!r} is no time of the day; write for example "22:30"')
    return time(int(match[1]) % 24, int(match[2]))


def zone_of(name: str) -> tzinfo | None:
    """A time zone by its name in the time zone database; None for ``"local"``.

    Raises
    ------
    ArgumentError
        If there is none of this name.
    """
    from zoneinfo import ZoneInfo

    if name == "local":
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
        raise ArgumentError(
            f'{name!r} is no time zone; write "local", "UTC" or, for example, "Europe/Berlin"'
        ) from None
