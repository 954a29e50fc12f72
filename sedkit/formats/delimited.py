"""Writing of rows as CSV and TSV, for all tables: fields are quoted as in RFC 4180, but lines end in LF."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _csv import Writer as RowWriter


def row_writer(stream: IO[str], delimiter: str = ",") -> RowWriter:
    r"""A writer of the module csv, whose lines end in LF. A field with CR is quoted, as one with LF.

    Before Python 3.13, csv quotes only the line ends that it writes itself. So it writes ``\r\n``, of which ``\r`` does
    not reach the stream.
    """
    return csv.writer(_LineFeeds(stream), delimiter=delimiter, lineterminator="\r\n")


class _LineFeeds:
    """A text stream that gets rows which end in CR LF, and passes them on with LF."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, row: str) -> Any:
        return self.stream.write(row[:-2] + "\n")
