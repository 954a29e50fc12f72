"""What is read from a file of events or labels, and the checks that all readers share."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.audio.recording_time import parse_time
from sedkit.errors import AnnotationError
from sedkit.results import Event, Tag

SURE = 1.0  # the score of an event for which the file has none: a person's word
ONSETS = "onset", "start", "begin", "start_s"  # columns of sedkit's own tables, the first there is, and of those who
OFFSETS = "offset", "end", "stop", "end_s"  # write theirs by hand or with pandas
LABELS = (".labels", ".audacity", ".selections", ".raven")  # before .txt
RAVEN_TABLE = re.compile(r"(?<=\w)\.Table\.?\d+$", re.IGNORECASE)  # what Raven Pro adds to the name of a recording


@dataclass(frozen=True)
class Annotations:
    """What a file says about one recording.

    Attributes
    ----------
    file : name of the recording.
    duration : its length in seconds; None if the file does not say.
    events : sorted by onset, then by label. ``mid`` is None and ``score`` 1.0 where the file has none.
    tags : classes of the whole recording (weak labels), as in the file.
    recorded_at : when it began, in UTC; None if the file does not say.
    tagged : whether the file lists tags, even if there are none.
    """

    file: str
    duration: float | None = None
    events: tuple[Event, ...] = ()
    tags: tuple[Tag, ...] = ()
    recorded_at: datetime | None = None
    tagged: bool = False


class Row(NamedTuple):
    """A line of a file: a recording, and what it says about it, if anything; and when the recording began."""

    file: str
    found: Event | Tag | None
    recorded_at: datetime | None = None


def grouped(rows: Iterable[Row], durations: dict[str, float] | None = None) -> list[Annotations]:
    """Put the rows of each recording together."""
    found: dict[str, list[Event | Tag]] = {}
    starts: dict[str, datetime] = {}
    for file, item, recorded_at in rows:
        items = found.setdefault(file, [])
        if item is not None:
            items.append(item)
        if recorded_at is not None:
            starts.setdefault(file, recorded_at)
    return [collected(file, items, (durations or {}).get(file), starts.get(file)) for file, items in found.items()]


def merged(found: Iterable[tuple[Path, Annotations]]) -> list[Annotations]:
    """Put together what several files say about each recording.

    Parameters
    ----------
    found : the file, and what it says about one recording.

    Raises
    ------
    AnnotationError
        If two files of different formats hold events, or tags, of the same recording. They would count twice.
    """
    sources: Sources = {}

    def checked() -> Iterator[Annotations]:
        for path, each in found:
            _check_once(path, each, sources)
            yield each

    return together(checked())


def together(found: Iterable[Annotations]) -> list[Annotations]:
    """Put together what is said about each recording; what is said of it more than once counts once."""
    recordings: dict[str, list[Annotations]] = {}
    for each in found:
        recordings.setdefault(each.file, []).append(each)
    return [parts[0] if len(parts) == 1 else _joined(parts) for parts in recordings.values()]


def _joined(parts: list[Annotations]) -> Annotations:
    items: dict[Event | Tag, None] = {}
    for each in parts:
        items |= dict.fromkeys(each.events) | dict.fromkeys(each.tags)
    duration = next((each.duration for each in parts if each.duration is not None), None)
    recorded_at = next((each.recorded_at for each in parts if each.recorded_at is not None), None)
    return replace(collected(parts[0].file, items, duration, recorded_at), tagged=any(each.tagged for each in parts))


Sources: TypeAlias = dict[tuple[str, str], dict[str, dict[str, Path]]]  # stem, kind; format; recording: file


def _check_once(path: Path, found: Annotations, sources: Sources) -> None:
    """Refuse a file if one of another format has told the same of its recording; enter it into ``sources``.

    Names without an ending of audio are those of formats that do not name recordings; they match any of their stem.
    """
    stem, form = stem_of(os.path.basename(found.file)), _form(path)
    name = found.file if found.file.lower().endswith(AUDIO_SUFFIXES) else ""
    for kind in [kind for kind in ("events", "tags") if getattr(found, kind)]:
        files_by_form = sources.setdefault((stem, kind), {})
        for other, files in files_by_form.items():
            if other != form and (not name or "" in files or name in files):
                earlier = files.get(name) or files.get("") or next(iter(files.values()))
                raise AnnotationError(
                    f"{path}: holds {kind} of {found.file}, as {earlier} does in another format; give one of these "
                    "files, or keep one format in the folder"
                )
        files_by_form.setdefault(form, {})[name] = path


def _form(path: Path) -> str:
    from sedkit.formats import format_of

    return format_of(path) or path.suffix.lower()


def collected(
    file: str, items: Iterable[Event | Tag], duration: float | None = None, recorded_at: datetime | None = None
) -> Annotations:
    """Make the annotations of one recording."""
    items = list(items)
    events = sorted(
        (item for item in items if isinstance(item, Event)), key=lambda event: (event.onset, event.label, event.offset)
    )
    tags = tuple(item for item in items if isinstance(item, Tag))
    return Annotations(file, duration, tuple(events), tags, recorded_at)


def event(place: str, onset: Any, offset: Any, label: Any, mid: Any = None, score: Any = None) -> Event:
    """Make an event from the fields of a file, which may be text.

    Parameters
    ----------
    place : file and line, for messages.

    Raises
    ------
    AnnotationError
        If a field is invalid.
    """
    start, end = number(place, "onset", onset), number(place, "offset", offset)
    if start < 0 or end < start:
        raise AnnotationError(f"{place}: an event cannot last from {start} s to {end} s; correct its times")
    return Event(start, end, _label(place, label), _mid(mid), _score(place, score))


def tag(place: str, label: Any, mid: Any = None, score: Any = None) -> Tag:
    """Make a tag from the fields of a file; parameters and errors as for :func:`event`."""
    return Tag(_label(place, label), _mid(mid), _score(place, score))


def columns_of_times(path: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """The columns of a table that hold the start and the end of an event; None for a table of tags, which has neither.

    Raises
    ------
    AnnotationError
        If a table has one of both only.
    """
    onset, offset = (next((name for name in known if name in names), None) for known in (ONSETS, OFFSETS))
    if onset is not None and offset is not None:
        return onset, offset
    if onset is None and offset is None:
        return None
    missing, known = ("start", ONSETS) if onset is None else ("end", OFFSETS)
    raise AnnotationError(f"{path}: has no column for the {missing} of events; name one of them {', '.join(known)}")


def number(place: str, name: str, value: Any) -> float:
    """A finite number, from a number or a text; also with a decimal comma.

    Raises
    ------
    AnnotationError
        If it is none.
    """
    try:
        result = float(str(value).strip().replace(",", "."))
    except ValueError:
        result = math.nan
    if not math.isfinite(result):
        raise AnnotationError(f"{place}: {name} is {value!r}, which is no number; correct it")
    return result


def began(moment: Any, seconds: float = 0.0) -> datetime | None:
    """When a recording began of which ``seconds`` had passed at a moment, in ISO 8601; None if it is none."""
    try:
        time = moment if isinstance(moment, datetime) else parse_time(str(moment or ""))
        if time is None:
            return None
        time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        return time.astimezone(UTC) - timedelta(milliseconds=round(seconds * 1000))
    except (ValueError, OverflowError):  # no such time
        return None


def named(place: str, file: Any) -> str:
    """The name of a recording in a table; spaces belong to it.

    Raises
    ------
    AnnotationError
        If there is none.
    """
    if not isinstance(file, str) or not file.strip():
        raise AnnotationError(f"{place}: has no recording; name one, or delete the line")
    return file


def _label(place: str, label: Any) -> str:
    text = "" if label is None else str(label).strip()
    if not text:
        raise AnnotationError(f"{place}: has no class; name one, or delete the line")
    return text


def _mid(mid: Any) -> str | None:
    return str(mid) if mid else None


def _score(place: str, score: Any) -> float:
    if score is None or score == "":
        return SURE
    value = number(place, "score", score)
    if not 0 <= value <= 1:
        raise AnnotationError(f"{place}: score is {score!r}, and scores are 0 to 1; correct it, or leave it empty")
    return value


def recording_of(path: Path) -> str:
    """The recording that a file of annotations without names belongs to: an audio file beside it, or its stem.

    The stem ends before a known ending of audio or of labels: ``a.wav`` of ``a.wav.txt``, ``a`` of ``a.labels.txt`` and
    of Raven Pro's ``a.Table.1.selections.txt``.
    """
    stem = path.with_suffix("")
    if stem.suffix.lower() in LABELS:
        stem = stem.with_suffix("")
    recording = RAVEN_TABLE.sub("", str(stem))
    for name in (str(stem), recording):
        if name.lower().endswith(AUDIO_SUFFIXES):
            return name
        for ending in AUDIO_SUFFIXES:
            for beside in (f"{name}{ending}", f"{name}{ending.upper()}"):
                if os.path.isfile(beside):
                    return beside
    return recording


def stem_of(file: str) -> str:
    """A file name without its last ending. What has no letters is none: ``.00`` in ``05.30.00`` belongs to a time."""
    stem, ending = os.path.splitext(file)
    return stem if any(map(str.isalpha, ending)) else file
