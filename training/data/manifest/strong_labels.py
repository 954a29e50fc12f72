"""Strong labels: tables of events with onset and offset, in the formats of DESED/DCASE and of AudioSet.

Both formats are separated by tabs:

- DESED, DCASE and sed_eval: ``filename, onset, offset, event_label``;
- AudioSet: ``segment_id, start_time_seconds, end_time_seconds, label``, where a label is a MID.

A clip without events has one row that holds only its name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sedkit.formats.delimited import row_writer
from training.data.manifest.delimited import read_table, require_columns
from training.data.manifest.problems import OnError, Tally
from training.runtime.files import replacing

DESED = ("filename", "onset", "offset", "event_label")
AUDIOSET = ("segment_id", "start_time_seconds", "end_time_seconds", "label")


class Event(NamedTuple):
    """One event of a clip, ``onset`` and ``offset`` in seconds. An empty label means that the clip has no events."""

    clip: str
    onset: float = math.nan
    offset: float = math.nan
    label: str = ""


def read_events(path: Path, on_error: OnError = "stop") -> tuple[list[Event], Tally]:
    """Read a table of events in either format.

    Returns
    -------
    events : in the order of the table.
    skipped : the faulty rows that ``on_error="skip"`` left out.

    Raises
    ------
    ManifestError
        If the table cannot be read or has neither format. With ``on_error="stop"`` also if an event lacks its clip,
        its label, or an onset before its offset.
    """
    rows = read_table(path, ())
    columns = AUDIOSET if AUDIOSET[0] in rows[0] else DESED
    require_columns(path, rows[0], columns)
    events, problems = [], Tally()
    for row in rows:
        clip, onset, offset, label = (row[name] for name in columns)
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
    problems.raise_on_stop(on_error, str(path))
    return events, problems


def write_events(path: Path, events: Iterable[Event]) -> None:
    """Write a table in DESED's format, atomically. Times are in seconds with three decimals.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = row_writer(file, "\t")
        writer.writerow(DESED)
        for event in events:
            times = (f"{event.onset:.3f}", f"{event.offset:.3f}") if event.label else ("", "")
            writer.writerow((event.clip, *times, event.label))
