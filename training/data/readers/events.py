"""Strong labels: what is heard from when to when, in the tables of DESED and DCASE and of AudioSet.

DESED, DCASE and sed_eval: ``filename, onset, offset, event_label``; AudioSet: ``segment_id,
start_time_seconds, end_time_seconds, label`` (a MID). Both are separated by tabs. A clip in which nothing
is heard has a row with its name alone.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from training.data.manifest.problems import OnError, Tally
from training.data.readers.tables import check_columns, read_table
from training.runtime.files import replacing

DESED = ("filename", "onset", "offset", "event_label")
AUDIOSET = ("segment_id", "start_time_seconds", "end_time_seconds", "label")


class Event(NamedTuple):
    """A label heard in a clip from ``onset`` to ``offset``, in seconds; an empty one: nothing is heard."""

    clip: str
    onset: float = math.nan
    offset: float = math.nan
    label: str = ""


def read_events(path: Path, on_error: OnError = "stop") -> tuple[list[Event], Tally]:
    """Events of a table, and what was left out.

    Raises
    ------
    ManifestError
        If the table cannot be read or is neither of the two forms, or if times in it are no times and
        ``on_error`` is ``stop``.
    """
    rows = read_table(path, ())
    form = AUDIOSET if AUDIOSET[0] in rows[0] else DESED
    check_columns(path, rows[0], form)
    events, problems = [], Tally()
    for row in rows:
        clip, onset, offset, label = (row[name] for name in form)
        if not (onset or offset or label):
            events.append(Event(clip))
            continue
        try:
            event = Event(clip, float(onset), float(offset), label)
        except ValueError:
            event = Event(clip)
        if not (clip and label and 0 <= event.onset < event.offset < math.inf):
            problems.add("event without name, times or label", f"{clip} {onset} to {offset}: {label}")
        else:
            events.append(event)
    problems.settle(on_error, str(path))
    return events, problems


def write_events(path: Path, events: Iterable[Event]) -> None:
    """Write a table of DESED's form, atomically; times in seconds with three digits after the point."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(DESED)
        for event in events:
            times = (f"{event.onset:.3f}", f"{event.offset:.3f}") if event.label else ("", "")
            writer.writerow((event.clip, *times, event.label))
