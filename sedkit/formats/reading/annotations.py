"""What is read from a file of events or labels, and the checks that all readers share."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from sedkit.errors import AnnotationError
from sedkit.results import Event, Tag

SURE = 1.0  # the score of an event for which the file has none: a person's word
AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".mp4", ".mkv", ".mov")


@dataclass(frozen=True)
class Annotations:
    """What a file says about one recording.

    Attributes
    ----------
    file : name of the recording.
    duration : its length in seconds; None if the file does not say.
    events : sorted by onset, then by label. ``mid`` is None and ``score`` 1.0 where the file has none.
    tags : classes of the whole recording (weak labels), as in the file.
    """

    file: str
    duration: float | None = None
    events: tuple[Event, ...] = ()
    tags: tuple[Tag, ...] = ()


class Row(NamedTuple):
    """A line of a file: a recording, and what it says about it, if anything."""

    file: str
    found: Event | Tag | None


def grouped(rows: Iterable[Row], durations: dict[str, float] | None = None) -> list[Annotations]:
    """Put the rows of each recording together."""
    found: dict[str, list[Event | Tag]] = {}
    for file, item in rows:
        items = found.setdefault(file, [])
        if item is not None:
            items.append(item)
    return [collected(file, items, (durations or {}).get(file)) for file, items in found.items()]


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
    recordings: dict[str, Annotations] = {}
    sources: Sources = {}
    for path, each in found:
        _check_once(path, each, sources)
        before = recordings.get(each.file, Annotations(each.file))
        duration = each.duration if before.duration is None else before.duration
        items: list[Event | Tag] = [*before.events, *each.events, *before.tags, *each.tags]
        recordings[each.file] = collected(each.file, items, duration)
    return list(recordings.values())


Sources: TypeAlias = dict[tuple[str, str], dict[str, dict[str, Path]]]  # stem, kind; format; recording: file


def _check_once(path: Path, found: Annotations, sources: Sources) -> None:
    """Refuse a file if one of another format has told the same of its recording; enter it into ``sources``.

    Names without an ending of audio are those of formats that do not name recordings; they match any of their stem.
    """
    stem, form = os.path.splitext(os.path.basename(found.file))[0], _form(path)
    name = found.file if found.file.lower().endswith(AUDIO) else ""
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


def collected(file: str, items: Iterable[Event | Tag], duration: float | None = None) -> Annotations:
    """Make the annotations of one recording."""
    items = list(items)
    events = sorted(
        (item for item in items if isinstance(item, Event)), key=lambda event: (event.onset, event.label, event.offset)
    )
    return Annotations(file, duration, tuple(events), tuple(item for item in items if isinstance(item, Tag)))


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
    return Event(start, end, _label(place, label), mid or None, _score(place, score))


def tag(place: str, label: Any, mid: Any = None, score: Any = None) -> Tag:
    """Make a tag from the fields of a file; parameters and errors as for :func:`event`."""
    return Tag(_label(place, label), mid or None, _score(place, score))


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


def _label(place: str, label: Any) -> str:
    text = "" if label is None else str(label).strip()
    if not text:
        raise AnnotationError(f"{place}: has no class; name one, or delete the line")
    return text


def _score(place: str, score: Any) -> float:
    return SURE if score is None or score == "" else number(place, "score", score)


def recording_of(path: Path) -> str:
    """The recording that a file of annotations without names belongs to: an audio file beside it, or its stem.

    The stem ends before a known ending of audio or of labels: ``a.wav`` of ``a.wav.txt``, ``a`` of ``a.labels.txt``.
    """
    stem = path.with_suffix("")
    if stem.suffix.lower() in AUDIO:
        return str(stem)
    if stem.suffix.lower() in (".labels", ".audacity", ".selections", ".raven"):
        stem = stem.with_suffix("")
    for ending in AUDIO:
        for beside in (f"{stem}{ending}", f"{stem}{ending.upper()}"):
            if os.path.isfile(beside):
                return beside
    return str(stem)
