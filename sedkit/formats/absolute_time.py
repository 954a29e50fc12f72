"""``--absolute-time``: when tags and events were heard, in UTC, beside their seconds from the start of a recording."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

UTC_COLUMNS = ("onset_utc", "offset_utc")


def moments(result: Tagging | Timeline, onset: float, offset: float) -> dict[str, datetime | None]:
    """Two times of a recording by :data:`UTC_COLUMNS`, to 1 ms; None if it is unknown when the recording began."""
    start = result.recorded_at
    times = (None if start is None else start.astimezone(UTC) + _milliseconds(time) for time in (onset, offset))
    return dict(zip(UTC_COLUMNS, times, strict=True))


def utc_texts(result: Tagging | Timeline, onset: float, offset: float) -> dict[str, Any]:
    """:func:`moments` as text such as ``2024-05-01T05:30:00.250Z``."""
    return {name: utc_text(moment) for name, moment in moments(result, onset, offset).items()}


def utc_text(moment: datetime | None) -> str | None:
    """A moment in ISO 8601, in UTC and with milliseconds; None for None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _milliseconds(seconds: float) -> timedelta:
    return timedelta(milliseconds=round(seconds * 1000))
