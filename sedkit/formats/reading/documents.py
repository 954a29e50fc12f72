"""JSON: of sedkit (a recording on a line), JAMS, and what Label Studio exports, told apart by their keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from sedkit.audio.prefetch import ChannelName
from sedkit.errors import AnnotationError
from sedkit.formats.documents import LOCAL_FILES
from sedkit.formats.reading.annotations import Annotations, began, collected, event, number, recording_of, tag, together
from sedkit.results import Event, Tag

JAMS_NAMESPACES = ("segment_open", "tag_open", "scaper", "sound_event")
WHOLE = 0.01  # seconds; a tag_open that misses no more of the recording is a weak label


def read_json(path: Path) -> list[Annotations]:
    """Read JSON, or JSON Lines. Several records may be about one recording, as of its tags and of its events."""
    found = []
    for place, record in _records(path):
        try:
            recording = _recording(path, place, record)
            if not isinstance(recording.file, str):
                raise TypeError("the name of the recording is not text")
            found.append(recording)
        except (LookupError, TypeError, AttributeError, ValueError, OverflowError, StopIteration) as error:
            raise AnnotationError(
                f"{place}: not the JSON of sedkit, JAMS or Label Studio ({type(error).__name__}: {error}); "
                "docs/formats.md describes them"
            ) from None
    return together(found)


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """The records of a file, each with file and line for messages."""
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    try:
        whole = json.loads(text) if text.strip() else []
        for number, record in enumerate(whole if isinstance(whole, list) else [whole], 1):
            yield f"{path}, record {number}", record
        return
    except (ValueError, RecursionError):
        pass  # several lines
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise AnnotationError(f"{path}:{number}: not JSON ({error}); save it again as JSON") from None
            yield f"{path}:{number}", record


def _recording(path: Path, place: str, record: Any) -> Annotations:
    if "file_metadata" in record:
        return _jams(path, place, record)
    if "data" in record and ("annotations" in record or "predictions" in record):
        return _label_studio(place, record)
    found: list[Event | Tag] = [
        event(place, item["onset"], item["offset"], item["label"], item.get("mid"), item.get("score"))
        for item in record.get("events", ())
    ]
    found += [tag(place, item["label"], item.get("mid"), item.get("score")) for item in record.get("tags", ())]
    duration, start = _duration(place, record.get("duration")), began(record.get("recorded_at"))
    return replace(collected(record["file"], found, duration, start), tagged="tags" in record)


def _jams(path: Path, place: str, record: Any) -> Annotations:
    about = record["file_metadata"]
    duration = _duration(place, about.get("duration"))
    found: list[Event | Tag] = []
    for annotation in record["annotations"]:
        if annotation["namespace"] not in JAMS_NAMESPACES:
            continue
        for item in annotation["data"]:
            value = item["value"]
            label = value["label"] if isinstance(value, dict) else value
            if isinstance(value, dict) and value.get("role") == "background":
                continue
            time, length = float(item["time"]), float(item["duration"])
            whole = duration is not None and time <= WHOLE and length >= duration - WHOLE
            if annotation["namespace"] == "tag_open" and whole:
                found.append(tag(place, label, None, item.get("confidence")))
            else:
                found.append(event(place, time, round(time + length, 6), label, None, item.get("confidence")))
    file, channel = about.get("title") or recording_of(path), (about.get("identifiers") or {}).get("channel")
    return collected(ChannelName(file, channel) if isinstance(channel, int) else file, found, duration)


def _label_studio(place: str, task: Any) -> Annotations:
    """A task: what the latest person said, otherwise the first prediction."""
    finished = [each for each in task.get("annotations", ()) if not each.get("was_cancelled")]
    chosen = finished[-1:] or task.get("predictions", ())[:1]
    found: list[Event | Tag] = []
    duration = None
    for region in (region for each in chosen for region in each.get("result", ())):
        value, score = region["value"], None if finished else region.get("score")
        duration = region.get("original_length", duration)
        for label in value.get("labels", ()):
            found.append(event(place, value["start"], value["end"], label, None, score))
        found += [tag(place, label, None, score) for label in value.get("choices", ())]
    data = task["data"]
    address = data.get("file") or next(value for value in data.values() if isinstance(value, str))
    if address.startswith(LOCAL_FILES):
        address = os.fsdecode(unquote_to_bytes(address.removeprefix(LOCAL_FILES)))
    return collected(address, found, _duration(place, duration))


def _duration(place: str, value: Any) -> float | None:
    """The length of a recording in seconds, None if the record has none."""
    seconds = None if value is None else number(place, "duration", value)
    if seconds is not None and seconds < 0:
        raise AnnotationError(f"{place}: a recording cannot last {seconds} s; correct its duration")
    return seconds
