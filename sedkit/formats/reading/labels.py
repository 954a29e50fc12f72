"""Label files of annotation tools: Praat TextGrid, ELAN, RTTM. Audacity's labels are a table without a header."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from sedkit.errors import AnnotationError
from sedkit.formats.reading.annotations import Annotations, Row, collected, event, grouped, number, recording_of


def read_textgrid(path: Path) -> list[Annotations]:
    """Read the intervals and points of all tiers. The class is their text, not the name of the tier."""
    from praatio import textgrid
    from praatio.data_classes.interval_tier import IntervalTier

    path.stat()  # OSError, where praatio would say less
    try:
        grid = textgrid.openTextgrid(
            str(path), includeEmptyIntervals=False, reportingMode="silence", duplicateNamesMode="rename"
        )
    except Exception as error:  # praatio raises what its parser meets: IndexError, ValueError, its own
        raise _unreadable(path, error, "save it again in Praat") from None
    found = []
    for tier in grid.tiers:
        for entry in tier.entries:
            onset, offset = entry[0], entry[1] if isinstance(tier, IntervalTier) else entry[0]
            if entry[-1].strip():
                found.append(event(f"{path}, tier {tier.name}", onset, offset, entry[-1]))
    return [collected(recording_of(path), found, float(grid.maxTimestamp or 0.0))]


def read_elan(path: Path) -> list[Annotations]:
    """Read the annotations of all tiers. The class is their text, or, where it is empty, the name of the tier."""
    from pympi import Elan

    path.stat()
    try:
        document = Elan.Eaf(str(path), suppress_version_warning=True)
        tiers = {name: document.get_annotation_data_for_tier(name) for name in document.get_tier_names()}
    except Exception as error:  # pympi raises what its parser meets: ParseError, KeyError, ValueError
        raise _unreadable(path, error, "save it again in ELAN") from None
    found = []
    for name, spans in tiers.items():
        for start, end, text, *_ in spans:
            if start is None or end is None:
                raise AnnotationError(f"{path}, tier {name}: an annotation has no time; align it in ELAN")
            found.append(event(f"{path}, tier {name}", start / 1000, end / 1000, (text or "").strip() or name))
    addresses = [media["MEDIA_URL"] for media in document.media_descriptors if media.get("MEDIA_URL")]
    return [collected(_path_of(addresses[0]) if addresses else recording_of(path), found)]


def read_rttm(path: Path) -> list[Annotations]:
    """Read the lines ``SPEAKER``; ``_`` in a class stands for a space."""
    rows = []
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    for line, fields in enumerate(map(str.split, text.splitlines()), 1):
        place = f"{path}:{line}"
        if not fields or fields[0] != "SPEAKER":
            continue
        if len(fields) < 8:
            raise AnnotationError(f"{place}: has {len(fields)} fields, RTTM has 8 or more; correct the line")
        onset = number(place, "onset", fields[3])
        offset = round(onset + number(place, "duration", fields[4]), 6)
        score = fields[8] if len(fields) > 8 and fields[8] != "<NA>" else None
        file = os.fsdecode(unquote_to_bytes(os.fsencode(fields[1])))
        rows.append(Row(file, event(place, onset, offset, fields[7].replace("_", " "), None, score)))
    return grouped(rows)


def _path_of(address: str) -> str:
    """The path in a file URL; another address, or a plain path, as it is."""
    parts = urlsplit(address)
    if parts.scheme != "file":
        return address
    path = os.fsdecode(unquote_to_bytes(parts.path))
    return path[1:] if path[2:3] == ":" else path  # /C:/folder on Windows


def _unreadable(path: Path, error: Exception, remedy: str) -> AnnotationError:
    problem = " ".join(f"{type(error).__name__} {error}".split())[:100]
    return AnnotationError(f"{path}: not readable ({problem}); {remedy}")
