"""One writer class per output format. A writer takes results one at a time and writes them to a text stream."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TextIO, cast

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

Kind = Literal["tags", "events"]  # what a command reports: the tags of each recording, or its events

COLUMNS: dict[Kind, tuple[str, ...]] = {  # of CSV and TSV
    "tags": ("file", "label", "mid", "score"),
    "events": ("file", "onset", "offset", "label", "mid", "score"),
}


class Writer(ABC):
    """Base class of the writers.

    Parameters
    ----------
    stream : UTF-8 text stream.
    kind : ``"tags"`` to write :class:`~sedkit.results.Tagging`, ``"events"`` to write
        :class:`~sedkit.results.Timeline`.
    files : names of the recordings, for the layout. Some of them may fail and have no result.
    header : whether to write a header; False to append to earlier results.
    bom : whether the header starts with a byte order mark, by which Excel recognises UTF-8; only CSV and TSV have one.

    Attributes
    ----------
    suffixes : file name suffixes of this format.
    errors : how the stream must encode undecodable bytes in file names (see :func:`open`).
    resumable : whether results can be appended to those of an earlier run.
    takes_bom : whether the format may start with a byte order mark.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    errors: ClassVar[str] = "surrogateescape"
    resumable: ClassVar[bool] = True
    takes_bom: ClassVar[bool] = False

    def __init__(
        self, stream: TextIO, kind: Kind, files: Sequence[str] = (), header: bool = True, bom: bool = False
    ) -> None:
        self.stream = stream
        self.kind = kind
        self.files = files
        self.bom = bom
        self.begin(header)

    def begin(self, header: bool) -> None:  # noqa: B027 (most formats have no header)
        """Prepare for writing; write the header, if there is one and `header` is true."""

    @abstractmethod
    def write(self, result: Tagging | Timeline) -> None:
        """Write one result."""


class JsonWriter(Writer):
    """JSON Lines (https://jsonlines.org): the ``to_dict()`` of each result on a line."""

    suffixes = (".json", ".jsonl", ".ndjson")
    errors = "backslashreplace"  # writes "\udc80", which is also the JSON escape of this character

    def write(self, result: Tagging | Timeline) -> None:
        self.stream.write(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")


class CsvWriter(Writer):
    """Comma-separated values with a header; one row per tag or event. Quoted as in RFC 4180, but lines end in LF."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    takes_bom: ClassVar[bool] = True
    delimiter: ClassVar[str] = ","

    def begin(self, header: bool) -> None:
        self.rows = csv.DictWriter(
            self.stream, COLUMNS[self.kind], delimiter=self.delimiter, lineterminator="\n", extrasaction="ignore"
        )
        if header:
            self.stream.write("\ufeff" if self.bom else "")
            self.rows.writeheader()

    def write(self, result: Tagging | Timeline) -> None:
        record = result.to_dict()
        self.rows.writerows({"file": record["file"], **row} for row in record[self.kind])


class TsvWriter(CsvWriter):
    """Tab-separated values; fields with a tab, a quote or a line break are quoted as in CSV."""

    suffixes = (".tsv", ".txt")
    delimiter = "\t"


class TextWriter(Writer):
    """Text for reading, drawn with rich (:mod:`sedkit.formats.terminal`); coloured if the stream is a terminal.

    Tags: a bar chart for one recording, one line per recording for several. Timelines: lanes and a list of events.
    """

    errors = "replace"
    resumable = False

    def begin(self, header: bool) -> None:
        from rich.cells import cell_len
        from rich.console import Console

        from sedkit.formats.terminal import printable

        class RaisingConsole(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would exit; the caller handles it, as for the other formats

        self.console = RaisingConsole(file=self.stream, highlight=False, soft_wrap=False)
        self.started = False
        self.widest = [max(self.files, key=lambda name: cell_len(printable(name)))] if self.files else []

    def write(self, result: Tagging | Timeline) -> None:
        from sedkit.formats import terminal

        if self.kind == "events":
            if self.started:
                self.console.print()
            self.console.print(terminal.Lanes(cast("Timeline", result)))
        elif len(self.files) > 1:
            self.console.print(terminal.TagLine(cast("Tagging", result), self.widest))
        else:
            self.console.print(terminal.TagBars(cast("Tagging", result)))
        self.started = True
