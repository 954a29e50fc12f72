"""``--start`` and ``--timezone``: when a recording began. Both stay text, which the settings of a run can hold."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, BinaryIO

import click

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
    """
    from sedkit.audio.recording_time import parse_time, recording_start

    where = zone_of(zone or "UTC")
    assert where is not None  # Zone has checked it
    if start is None:
        return recording_start(name, where, file)
    moment = parse_time(start)
    assert moment is not None  # as Moment
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=where)).astimezone(UTC)
