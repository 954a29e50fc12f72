"""Tables as text: of sedkit, Raven, Kaleidoscope, DCASE and AudioSet, told apart by their columns; Audacity's labels.

Columns may be separated by tabs, commas or semicolons; their order and case do not matter, and others may be there.
"""

from __future__ import annotations

import codecs
import csv
import io
import ntpath
import os
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from sedkit.errors import AnnotationError
from sedkit.formats.reading.annotations import (
    Annotations,
    Row,
    began,
    columns_of_times,
    event,
    grouped,
    named,
    number,
    recording_of,
    tag,
)
from sedkit.formats.writers import FORMULA

RAVEN_CLASSES = ("annotation", "species", "common name", "label", "class", "type", "tags")  # the first one there is
RAVEN_SCORES = ("score", "confidence")


class Line(NamedTuple):
    """A row of a table: file and line for messages, and fields by the lower-case name of their column.

    Fields that a short row lacks are empty.
    """

    place: str
    fields: dict[str, str]


def read_table(path: Path) -> list[Annotations]:
    """Read a table with one of the known sets of columns, or without a header."""
    lines = _lines(path)
    names = _names(lines)
    has = set(names).issuperset
    table = (
        Line(f"{path}:{number}", dict(zip(names, [*row, *[""] * len(names)], strict=False)))
        for number, row in lines[1:]
    )
    if has({"begin time (s)", "end time (s)"}):
        is_of_one = not has({"begin path"}) and not has({"begin file"})
        return grouped(_raven(path, names, table)) or ([Annotations(recording_of(path))] if is_of_one else [])
    if has({"in file", "offset", "duration"}):
        return grouped(_kaleidoscope(table))
    if has({"filename", "event_label"}) or has({"filename", "event_labels"}):
        return grouped(_dcase(table))
    if has({"segment_id", "start_time_seconds", "end_time_seconds", "label"}):
        return grouped(_audioset_strong(table))
    if lines and lines[0][1][0].lstrip("# ").startswith(("Segments csv created", "YTID")):
        return grouped(_audioset_segments(path, lines))
    if has({"file", "label"}):
        return grouped(_own(path, names, table))
    return _without_header(path, lines)


def lists_tags(path: Path) -> bool:
    """Whether the header of a table is that of tags."""
    names = _names(_lines(path))
    own = {"file", "label"}.issubset(names) and columns_of_times(path, names) is None
    return own or {"filename", "event_labels"}.issubset(names)


def _names(lines: Sequence[tuple[int, list[str]]]) -> list[str]:
    """The names of the columns, in lower case."""
    return [name.strip().lower() for name in lines[0][1]] if lines else []


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a table that are not empty: number and fields."""
    data = path.read_bytes()
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    text = data.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "replace")
    if "\0" in text:
        raise AnnotationError(f"{path}: not text; give a table of events (docs/formats.md lists the formats)")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    delimiter = next((mark for mark in "\t;," if mark in first), "\t")
    is_audacity = delimiter == "\t" and _is_number(first.split("\t")[0])
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=delimiter == "," and ", " in first,  # as in AudioSet's tables
        quoting=csv.QUOTE_NONE if is_audacity else csv.QUOTE_MINIMAL,
    )
    try:
        return [(rows.line_num, row) for row in rows if any(map(str.strip, row))]
    except csv.Error as error:
        remedy = "close the quotation mark that begins it" if "limit" in str(error) else "save it again as text"
        raise AnnotationError(f"{path}:{rows.line_num}: not a table ({error}); {remedy}") from None


def _own(path: Path, names: Sequence[str], table: Iterator[Line]) -> Iterator[Row]:
    times = columns_of_times(path, names)
    for place, row in table:
        file, label, mid = (_unescaped(row.get(name, "")) for name in ("file", "label", "mid"))
        file, about_class = named(place, file), (label, mid, row.get("score"))
        moment = row.get("onset_utc")
        if times is not None:
            found = event(place, row[times[0]], row[times[1]], *about_class)
            yield Row(file, found, began(moment, found.onset))
        else:
            yield Row(file, tag(place, *about_class), began(moment))


def _unescaped(text: str) -> str:
    """A field without the apostrophe of --escape-formulas."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text


def _dcase(table: Iterator[Line]) -> Iterator[Row]:
    for place, row in table:
        file = named(place, row["filename"])
        if "event_labels" in row:
            labels = [label for label in row["event_labels"].split(",") if label.strip()]
            yield Row(file, None)
            yield from (Row(file, tag(place, label)) for label in labels)
        elif not row.get("event_label", "").strip():
            yield Row(file, None)
        elif "onset" in row:
            yield Row(file, event(place, row["onset"], row.get("offset"), row["event_label"]))
        else:
            yield Row(file, tag(place, row["event_label"]))


def _raven(path: Path, names: Sequence[str], table: Iterator[Line]) -> Iterator[Row]:
    label = next((name for name in RAVEN_CLASSES if name in names), None)
    if label is None:
        known = ", ".join(name.title() for name in RAVEN_CLASSES)
        raise AnnotationError(f"{path}: has no column for the class; name one of them {known}")
    score = next((name for name in RAVEN_SCORES if name in names), "")
    places: list[tuple[str, float]] = []
    views: dict[str, str] = {}  # Raven lists a selection once for each view: waveform and spectrogram
    for place, row in table:
        selection, view = row.get("selection", ""), row.get("view", "")
        if selection and views.setdefault(selection, view) != view:
            continue
        file = row.get("begin path") or row.get("begin file")
        begin = number(place, "Begin Time (s)", row["begin time (s)"])
        length = number(place, "End Time (s)", row.get("end time (s)")) - begin
        within = row.get("file offset (s)") if file else None
        if file and not within:
            places.append((file, begin))
        onset = number(place, "File Offset (s)", within) if within else begin
        offset = round(onset + length, 6)
        yield Row(file or recording_of(path), event(place, onset, offset, row.get(label), None, row.get(score)))
    if _may_count_from_the_first(places):
        raise AnnotationError(
            f"{path}: names several recordings but has no File Offset (s), and Raven's Begin Time (s) counts from the "
            "start of the first; save the table with the column File Offset (s)"
        )


def _may_count_from_the_first(places: Sequence[tuple[str, float]]) -> bool:
    """Whether times in several recordings may count from the start of the first: those of each are on their own."""
    by_time = sorted(places, key=itemgetter(1))
    runs = len(list(groupby(by_time, key=itemgetter(0))))
    apart = all(one[1] < other[1] for one, other in pairwise(by_time) if one[0] != other[0])
    return 1 < len({file for file, _ in places}) == runs and apart


def _kaleidoscope(table: Iterator[Line]) -> Iterator[Row]:
    for place, row in table:
        file = os.path.join(row.get("indir", ""), row.get("folder", ""), row["in file"])
        if ntpath.isabs(row.get("indir", "")) and "\\" in row["indir"]:
            file = ntpath.join(row["indir"], row.get("folder", ""), row["in file"])
        onset = number(place, "OFFSET", row["offset"])
        offset = round(onset + number(place, "DURATION", row["duration"]), 6)
        person = (row.get("manual id") or "").strip()
        distance = (row.get("top1dist") or "").strip()
        score = None if person or not distance else _closeness(number(place, "TOP1DIST", distance))
        yield Row(file, event(place, onset, offset, person or row.get("top1match"), None, score))


def _closeness(distance: float) -> float:
    """A score from Kaleidoscope's distance from the centre of a cluster, which may exceed 1."""
    return max(0.0, round(1 - distance, 6))


def _audioset_strong(table: Iterator[Line]) -> Iterator[Row]:
    for place, row in table:
        times = row["start_time_seconds"], row.get("end_time_seconds")
        yield Row(row["segment_id"], event(place, *times, row.get("label"), row.get("label")))


def _audioset_segments(path: Path, lines: Sequence[tuple[int, Sequence[str]]]) -> Iterator[Row]:
    """Weak labels of AudioSet's segments: YTID, start, end and the MIDs, which a comma separates."""
    for line, row in lines:
        if row[0].startswith("#") or row[0] == "YTID":
            continue
        for mid in ",".join(row[3:]).replace('"', "").split(","):
            yield Row(row[0], tag(f"{path}:{line}", mid, mid.strip()))


def _without_header(path: Path, lines: Sequence[tuple[int, Sequence[str]]]) -> list[Annotations]:
    """Audacity's labels (start, end, class), also with the name of the recording first, as in older DCASE sets."""
    rows = []
    for line, row in lines:
        place, fields = f"{path}:{line}", [field.strip() for field in row]
        if fields[0] == "\\":
            continue  # Audacity's frequencies of the line before
        is_header = line == lines[0][0] and not any(map(_is_number, fields))
        if len(fields) >= 4 and not _is_number(fields[0]) and not is_header:
            rows.append(Row(fields[0], event(place, *fields[1:4])))
        elif len(fields) >= 3 and _is_number(fields[0]):
            rows.append(Row(recording_of(path), event(place, *fields[:3])))
        elif len(fields) == 2 and _is_number(fields[0]):
            raise AnnotationError(f"{place}: has no class; name one, or delete the line")
        else:
            columns = " ".join(", ".join(fields).split())[:100]
            raise AnnotationError(
                f"{place}: not a table of events that sedkit knows; its columns are {columns} "
                "(docs/formats.md lists the formats)"
            )
    return grouped(rows) or [Annotations(recording_of(path))]


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
