"""The base class of the writers, and the writers of JSON Lines, CSV, TSV and text."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, cast

from sedkit.formats.absolute_time import UTC_COLUMNS, utc_text, utc_texts
from sedkit.formats.delimited import row_writer
from sedkit.formats.options import FormatOptions

if TYPE_CHECKING:
    from sedkit.results import Event, Second, Tag, Tagging, Timeline

Kind = Literal["tags", "events"]  # what a command reports: the tags of each recording, or its events
KINDS: tuple[Kind, ...] = ("tags", "events")

COLUMNS: dict[Kind, tuple[str, ...]] = {  # of CSV and TSV
    "tags": ("file", "label", "mid", "score"),
    "events": ("file", "onset", "offset", "label", "mid", "score"),
}

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters that make spreadsheets run a cell


@dataclass(frozen=True)
class Run:
    """What a writer knows of the run whose results it writes.

    The version of sedkit is a property, since looking it up takes time.

    Attributes
    ----------
    kind : ``"tags"`` for :class:`~sedkit.results.Tagging`, ``"events"`` for :class:`~sedkit.results.Timeline`.
    files : names of the recordings that the file is for, in order; some of them may fail and have no result.
    path : where the file will be; None for standard output.
    model : name of the model.
    settings : everything that determines the results, by option name.
    options : see :class:`~sedkit.formats.options.FormatOptions`.
    stems : returns, by recording, the paths that files about it alone have in the folder of `path`, relative to that
        folder and without the ending of a format; None if nothing says which they are.
    """

    kind: Kind
    files: Sequence[str] = ()
    path: Path | None = None
    model: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: FormatOptions = field(default_factory=FormatOptions)
    stems: Callable[[], Mapping[str, str]] | None = None

    @property
    def version(self) -> str:
        from sedkit.install import version

        return version()


class Writer(ABC):
    """Base class of the writers. A writer gets results one at a time and holds none of them longer than it must.

    Parameters
    ----------
    stream : text stream, UTF-8 with LF line ends; a binary stream for a `binary` format. Left open.
    run : what the file is for.

    Attributes
    ----------
    suffixes : endings of file names, in lower case, that choose the format. Of the endings of all formats, the longest
        that fits a name decides (``.labels.txt`` before ``.txt``).
    ending : of the names of files in a folder; empty is the first of `suffixes`.
    kinds : the kinds of results that the format can hold.
    single : the kinds of which a file holds one recording; of the others, a file holds all recordings of a run.
    binary : whether `stream` takes bytes.
    errors : how a text stream encodes undecodable bytes in file names (see :func:`open`).
    takes : names of the options in :class:`~sedkit.formats.options.FormatOptions` that change what is written.
    modules : modules that the writer imports, beyond the dependencies of sedkit; looked for before the analysis.
    extra : the extra of sedkit that installs them.
    keeps : fields of results that are otherwise left empty and that the writer needs, such as ``"scores"``.
    lists_failures : whether a file makes sense of a run in which all recordings have failed.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    ending: ClassVar[str] = ""
    kinds: ClassVar[tuple[Kind, ...]] = KINDS
    single: ClassVar[tuple[Kind, ...]] = ()
    binary: ClassVar[bool] = False
    errors: ClassVar[str] = "surrogateescape"
    takes: ClassVar[frozenset[str]] = frozenset()
    modules: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    keeps: ClassVar[frozenset[str]] = frozenset()
    lists_failures: ClassVar[bool] = False

    def __init__(self, stream: IO[Any], run: Run) -> None:
        self.stream = stream
        self.run = run
        self.begin()

    def begin(self) -> None:  # noqa: B027 (most formats have no header)
        """Prepare for writing; write the header, if there is one."""

    @abstractmethod
    def write(self, result: Tagging | Timeline) -> None:
        """Write one result."""

    def fail(self, file: str, error: str) -> None:  # noqa: B027 (most formats leave it out)
        """Write that a recording has no result, and why; its turn in the order of the recordings is now."""

    def finish(self) -> None:  # noqa: B027 (most formats have no end)
        """Write what comes after the last result, such as a closing bracket."""


class JsonWriter(Writer):
    """JSON Lines (https://jsonlines.org): the ``to_dict()`` of each result on a line."""

    suffixes = (".json", ".jsonl", ".ndjson")
    takes = frozenset({"absolute_time"})
    errors = "backslashreplace"  # writes "\udc80", which is also the JSON escape of this character

    def write(self, result: Tagging | Timeline) -> None:
        names = ("tags",) if self.run.kind == "tags" else ("seconds", "events")
        without: dict[str, Any] = dict.fromkeys(names, ())
        record = replace(result, **without).to_dict()
        if self.run.options.absolute_time:
            record["recorded_at"] = utc_text(result.recorded_at)
        for position, (name, value) in enumerate(record.items()):
            self.stream.write(f'{", " if position else "{"}"{name}": ')
            if name in names:
                self._write_list(result, getattr(result, name), timed=name == "events")
            else:
                self.stream.write(_json(value))
        self.stream.write("}\n")

    def _write_list(self, result: Tagging | Timeline, items: Sequence[Tag | Second | Event], timed: bool) -> None:
        """Write items one at a time: a day has 86,400 seconds."""
        for position, item in enumerate(items):
            record = item.to_dict()
            if timed and self.run.options.absolute_time:
                record |= utc_texts(result, record["onset"], record["offset"])
            self.stream.write((", " if position else "[") + _json(record))
        self.stream.write("]" if items else "[]")


class CsvWriter(Writer):
    """Comma-separated values with a header; one row per tag or event. Quoted as in RFC 4180, but lines end in LF."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    takes: ClassVar[frozenset[str]] = frozenset({"bom", "escape_formulas", "absolute_time"})
    delimiter: ClassVar[str] = ","

    def begin(self) -> None:
        self.columns = COLUMNS[self.run.kind] + (UTC_COLUMNS if self.run.options.absolute_time else ())
        self.rows = row_writer(self.stream, self.delimiter)
        self.stream.write("\ufeff" if self.run.options.bom else "")
        self.rows.writerow(self.columns)

    def write(self, result: Tagging | Timeline) -> None:
        options = self.run.options
        for item in result:
            row = item.to_dict()
            if options.absolute_time:
                row |= utc_texts(result, row.get("onset", 0.0), row.get("offset", result.duration))
            row["file"] = result.file
            fields = [row[name] for name in self.columns]
            self.rows.writerow(map(harmless, fields) if options.escape_formulas else fields)


class TsvWriter(CsvWriter):
    """Tab-separated values; fields with a tab, a quote or a line break are quoted as in CSV."""

    suffixes = (".tsv",)
    delimiter = "\t"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet runs as a formula: with an apostrophe before it, if it is text that looks like one."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


class TextWriter(Writer):
    """Text for reading, drawn with rich (:mod:`sedkit.formats.terminal`); coloured if the stream is a terminal.

    Tags: a bar chart for one recording, one line per recording for several. Timelines: lanes and a list of events.
    """

    ending = ".txt"
    errors = "replace"

    def begin(self) -> None:
        from rich.cells import cell_len
        from rich.console import Console

        from sedkit.formats.terminal import printable

        class RaisingConsole(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would exit; the caller handles it, as for the other formats

        self.console = RaisingConsole(file=self.stream, highlight=False, soft_wrap=False)
        self.started = False
        self.several = len(self.run.files) > 1
        self.widest = [max(self.run.files, key=lambda name: cell_len(printable(name)))] if self.run.files else []

    def write(self, result: Tagging | Timeline) -> None:
        from sedkit.formats import terminal

        if self.run.kind == "events":
            if self.started:
                self.console.print()
            self.console.print(terminal.Lanes(cast("Timeline", result)))
        elif self.several:
            self.console.print(terminal.TagLine(cast("Tagging", result), self.widest))
        else:
            self.console.print(terminal.TagBars(cast("Tagging", result)))
        self.started = True
