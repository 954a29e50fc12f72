"""``--start`` and ``--timezone``: when a recording began. Both stay text, which the settings of a run can hold."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, BinaryIO

import click

from sedkit.errors import ArgumentError

OFFSET = re.compile(r"([+-])(\d{1,2})(?::?([0-5]\d))?")


class Moment(click.ParamType[str]):
    """Parameter type: a date and a time in ISO 8601."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from sedkit.audio.recording_time import parse_time

        if parse_time(value) is None:
            self.fail(f"{value!r} is no date and time, such as 2024-05-01T05:30:00+02:00.", param, ctx)
        return str(value)


class Zone(click.ParamType[str]):
    """Parameter type: a time zone."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if zone_of(value) is None:
            self.fail(f"{value!r} is no time zone, such as UTC, +02:00 or Europe/Berlin.", param, ctx)
        return str(value)


def zone_of(name: str) -> tzinfo | None:
    """The time zone of a name or of hours ahead of UTC; None if there is none."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    if match := OFFSET.fullmatch(name):
        ahead = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        return timezone(-ahead if match[1] == "-" else ahead) if ahead < timedelta(hours=24) else None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def recorded_at(name: str, start: str | None, zone: str | None, file: BinaryIO | None = None) -> datetime | None:
    """When a recording began, in UTC; None if nothing tells.

    Parameters
    ----------
    name : of the recording.
    start, zone : the values of ``--start`` and ``--timezone``.
    file : see :func:`sedkit.audio.recording_time.recording_start`.

    Raises
    ------
    ArgumentError
        See :func:`moment_of`.
    """
    if start is not None:
        return moment_of(start, zone)
    from sedkit.audio.recording_time import recording_start

    where = zone_of(zone or "UTC")
    assert where is not None  # Zone has checked it
    return recording_start(name, where, file)


def moment_of(start: str, zone: str | None) -> datetime:
    """The value of ``--start`` in UTC; of a time that occurs twice, the first.

    Raises
    ------
    ArgumentError
        If the time does not occur in the time zone, where clocks go forward.
    """
    from sedkit.audio.recording_time import parse_time

    where, moment = zone_of(zone or "UTC"), parse_time(start)
    assert where is not None  # Zone has checked it
    assert moment is not None  # as Moment
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    local = moment.replace(tzinfo=where)
    found = local.astimezone(UTC)
    if found.astimezone(where).replace(tzinfo=None) != moment:
        raise ArgumentError(
            f"start {start}: there is no such time in {zone}, where clocks go forward then; give it with its offset "
            f"from UTC, such as {local.isoformat()}"
        )
    return found
