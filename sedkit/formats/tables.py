"""Tables of other programs: Raven, Kaleidoscope, and those of the DCASE challenges."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from sedkit.audio.prefetch import channel_of, path_of
from sedkit.errors import OutputError
from sedkit.formats.delimited import row_writer
from sedkit.formats.writers import Kind, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

HIGHEST = 8000.0  # Hz; the models hear nothing above
STDIN = "-"


class TableWriter(Writer):
    """Base class: rows with a header; a field with a tab, a quote or a line end is quoted, as in CSV."""

    kinds: ClassVar[tuple[Kind, ...]] = ("events",)
    delimiter: ClassVar[str] = "\t"
    columns: ClassVar[tuple[str, ...]]

    def begin(self) -> None:
        self.rows = row_writer(self.stream, self.delimiter)
        self.rows.writerow(self.columns)


class RavenWriter(TableWriter):
    """A selection table of Raven. The table of several recordings is a sound selection table, which opens them too.

    Raven shows the recordings of a table one after the other: ``Begin Time (s)`` counts from the start of the first
    one, ``File Offset (s)`` from the start of the recording. Recordings without events are not in the table.
    The channels of a recording share its place.
    """

    suffixes = (".selections.txt", ".raven.txt")
    columns = (
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
        "Begin File",
        "Begin Path",
        "File Offset (s)",
        "Annotation",
        "Score",
    )

    def begin(self) -> None:
        super().begin()
        self.selections = 0
        self.path = ""  # of the recording before
        self.start = self.elapsed = 0.0  # seconds; length of the recordings before that one, and with it

    def write(self, result: Tagging | Timeline) -> None:
        timeline = cast("Timeline", result)
        highest = min(HIGHEST, timeline.sample_rate / 2) if timeline.sample_rate else HIGHEST
        path = absolute(path_of(timeline.file))
        if timeline.events and path != self.path:
            self.path, self.start = path, self.elapsed
            self.elapsed += timeline.duration
        for event in timeline.events:
            self.selections += 1
            self.rows.writerow(
                [
                    self.selections,
                    "Spectrogram 1",
                    channel_of(timeline.file) or 1,
                    f"{self.start + event.onset:.3f}",
                    f"{self.start + event.offset:.3f}",
                    "0.0",
                    f"{highest:.1f}",
                    os.path.basename(path),
                    path,
                    f"{event.onset:.3f}",
                    event.label,
                    f"{event.score:.4f}",
                ]
            )


class KaleidoscopeWriter(TableWriter):
    """The table of detections that Kaleidoscope opens as its results.

    ``CHANNEL`` counts from 0. ``TOP1DIST`` is a distance, so it is 1 - score. ``MANUAL ID`` is empty, for the person
    who checks.
    """

    suffixes = (".kaleidoscope.csv",)
    delimiter = ","
    columns = (
        "INDIR",
        "FOLDER",
        "IN FILE",
        "CHANNEL",
        "OFFSET",
        "DURATION",
        "TOP1MATCH",
        "TOP1DIST",
        "MANUAL ID",
    )

    def begin(self) -> None:
        super().begin()
        self.top = common_folder(self.run.files)

    def write(self, result: Tagging | Timeline) -> None:
        timeline = cast("Timeline", result)
        folder, name = os.path.split(absolute(path_of(timeline.file)))
        channel = (channel_of(timeline.file) or 1) - 1
        top = self.top or folder
        below = os.path.relpath(folder, top) if folder else ""
        for event in timeline.events:
            length, distance = f"{event.offset - event.onset:.3f}", f"{1 - event.score:.4f}"
            place = [top, "" if below == os.curdir else below, name, channel]
            self.rows.writerow([*place, f"{event.onset:.3f}", length, event.label, distance, ""])


class DcaseWriter(TableWriter):
    """The table of events of the DCASE challenges, which sed_eval, psds_eval and sed_scores_eval read.

    Recordings have the names of their files without folders, as in DCASE's references, if no two are alike. A recording
    without events has no row: sed_eval fails on one with a name only, which references may have.
    """

    suffixes = (".dcase.tsv",)
    columns = ("filename", "onset", "offset", "event_label")

    def begin(self) -> None:
        super().begin()
        names = Counter(os.path.basename(file) for file in self.run.files)
        self.short = all(count == 1 for count in names.values())

    def write(self, result: Tagging | Timeline) -> None:
        timeline = cast("Timeline", result)
        name = os.path.basename(timeline.file) if self.short else timeline.file
        for event in timeline.events:
            self.rows.writerow([name, f"{event.onset:.3f}", f"{event.offset:.3f}", event.label])


class DcaseScoresWriter(Writer):
    """The scores of all classes in all cells of one recording, as sed_scores_eval reads them."""

    suffixes = (".scores.tsv",)
    ending = ".tsv"  # sed_scores_eval takes what is before it for the name of the recording
    kinds = ("events",)
    single = ("events",)
    keeps = frozenset({"scores"})

    def write(self, result: Tagging | Timeline) -> None:
        timeline = cast("Timeline", result)
        if timeline.scores is None:
            raise OutputError(
                f"{timeline.file}: has no scores of its cells, which dcase-scores needs; write it with sedkit timeline"
            )
        rows = row_writer(self.stream, "\t")
        rows.writerow(["onset", "offset", *(label.name for label in timeline.labels)])
        for cell, scores in zip(timeline.seconds, timeline.scores, strict=True):
            rows.writerow([round(cell.start, 3), round(cell.end, 3), *(f"{score:.4f}" for score in scores)])


def absolute(file: str) -> str:
    """The absolute path of a recording; the name itself for standard input."""
    return file if file == STDIN else os.path.abspath(file)


def common_folder(files: Sequence[str]) -> str:
    """The lowest folder that holds all the files, as an absolute path; empty if there is none."""
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
    except ValueError:  # no files, or on several drives
        return ""
