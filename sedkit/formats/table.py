"""Tables with a header: one row a tag, or one row an event."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, ClassVar

from sedkit.formats.writer import Kind, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "tags": ("file", "label", "mid", "score"),
    "events": ("file", "onset", "offset", "label", "mid", "score"),
}


class CsvWriter(Writer):
    """Comma-separated, quoted as RFC 4180 has it where needed, but with lines that end in LF."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    delimiter: ClassVar[str] = ","

    def begin(self, header: bool) -> None:
        self.rows = csv.DictWriter(
            self.stream, COLUMNS[self.kind], delimiter=self.delimiter, lineterminator="\n", extrasaction="ignore"
        )
        if header:
            self.rows.writeheader()

    def write(self, result: Tagging | Timeline) -> None:
        record = result.to_dict()
        self.rows.writerows({"file": record["file"], **row} for row in record[self.kind])


class TsvWriter(CsvWriter):
    """Tab-separated; a field that itself holds a tab, a quote or a line end is quoted as in CSV."""

    suffixes = (".tsv", ".txt")
    delimiter = "\t"
