"""Label files of sound editors and annotation tools: Audacity, Praat TextGrid, ELAN, and RTTM.

These files hold no scores (RTTM does), so that what people correct in them can be read back as it is
(:mod:`sedkit.formats.reading`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from sedkit.audio.prefetch import channel_of, path_of
from sedkit.formats.writers import Kind, Writer

if TYPE_CHECKING:
    from sedkit.results import Event, Tagging, Timeline

SHORTEST = 0.001  # seconds; programs refuse an event without length
STDIN = "-"  # has no address that ELAN could open
EMPTY_TIER = "sounds"  # the only tier where nothing was found
NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)  # of ELAN files, for a recording whose start is unknown


class LabelWriter(Writer):
    """Base class of the writers whose files hold the events of one recording."""

    kinds: ClassVar[tuple[Kind, ...]] = ("events",)
    single: ClassVar[tuple[Kind, ...]] = ("events",)


class AudacityWriter(LabelWriter):
    """A label track of Audacity (File > Import > Labels): start, end and class on a line, with tabs between them."""

    suffixes = (".labels.txt", ".audacity.txt")

    def write(self, result: Tagging | Timeline) -> None:
        for event in cast("Timeline", result).events:
            self.stream.write(f"{event.onset:.6f}\t{event.offset:.6f}\t{one_line(event.label)}\n")


class TextGridWriter(LabelWriter):
    """A TextGrid of Praat, with one tier for each class."""

    suffixes = (".textgrid",)
    ending = ".TextGrid"
    modules = ("praatio",)
    extra = "formats"

    def write(self, result: Tagging | Timeline) -> None:
        from praatio.data_classes.interval_tier import IntervalTier
        from praatio.data_classes.textgrid import Textgrid, _tgToDictionary
        from praatio.utilities.textgrid_io import getTextgridAsStr

        timeline = cast("Timeline", result)
        tiers = tiers_of(timeline.events) or {EMPTY_TIER: []}
        end = max([timeline.duration, SHORTEST, *(spans[-1][1] for spans in tiers.values() if spans)])
        grid = Textgrid(0, end)
        for label, spans in tiers.items():
            grid.addTier(IntervalTier(label, [(*span, label) for span in spans], 0, end))
        text = getTextgridAsStr(_tgToDictionary(grid), "long_textgrid", includeBlankSpaces=True)
        self.stream.write(text)


class ElanWriter(LabelWriter):
    """A document of ELAN, with one tier for each class and a link to the recording."""

    suffixes = (".eaf",)
    modules = ("pympi",)
    extra = "formats"

    def write(self, result: Tagging | Timeline) -> None:
        import mimetypes

        from pympi import Elan

        timeline = cast("Timeline", result)
        document = Elan.Eaf(author="sedkit")
        document.adocument["DATE"] = (timeline.recorded_at or NO_DATE).isoformat(timespec="seconds")
        document.remove_tier("default")
        if timeline.file != STDIN:
            path = os.path.abspath(path_of(timeline.file))
            document.add_linked_file(Path(path).as_uri(), mimetype=mimetypes.guess_type(path)[0] or "audio/*")
        for label, spans in (tiers_of(timeline.events) or {EMPTY_TIER: []}).items():
            document.add_tier(xml_text(label))
            for onset, offset in spans:
                start = round(onset * 1000)
                document.add_annotation(
                    xml_text(label), start, max(start + 1, round(offset * 1000)), value=xml_text(label)
                )
        self.stream.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{Elan.to_string(document)}\n')


class RttmWriter(Writer):
    """Rich Transcription Time Marked (RTTM), as tools for diarization have it: one event on a line.

    Fields are separated by spaces. In a class, ``_`` stands for a space; in the name of a recording, space, ``%`` and
    control characters are percent-encoded.
    """

    suffixes = (".rttm",)
    kinds = ("events",)

    def write(self, result: Tagging | Timeline) -> None:
        from urllib.parse import quote

        timeline = cast("Timeline", result)
        name = re.sub(r"[\s%\x00-\x1f\x7f]", lambda match: quote(match[0], safe=""), path_of(timeline.file)) or "%20"
        channel = channel_of(timeline.file) or 1
        for event in timeline.events:
            label = re.sub(r"\s+", "_", event.label)
            length = max(SHORTEST, event.offset - event.onset)
            self.stream.write(
                f"SPEAKER {name} {channel} {event.onset:.3f} {length:.3f} <NA> <NA> {label} {event.score:.4f} <NA>\n"
            )


def tiers_of(events: Iterable[Event]) -> dict[str, list[tuple[float, float]]]:
    """Start and end of the events of each class, in order; those that overlap become one, since a tier has no layers.

    Classes are in the order of their first events.
    """
    tiers: dict[str, list[tuple[float, float]]] = {}
    for event in sorted(events, key=lambda event: event.onset):
        spans = tiers.setdefault(one_line(event.label), [])
        onset, offset = event.onset, max(event.offset, event.onset + SHORTEST)
        if spans and onset < spans[-1][1]:
            spans[-1] = spans[-1][0], max(offset, spans[-1][1])
        else:
            spans.append((onset, offset))
    return tiers


def one_line(text: str) -> str:
    """Text with a space for each tab or line end, which would end a field."""
    return re.sub(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", " ", text)


def xml_text(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)
