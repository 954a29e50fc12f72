"""Parquet and Arrow, with pyarrow: one row per tag or event, in the columns that a run on a cluster writes too.

Rows are written in groups of at most :data:`GROUP`, so memory does not grow with the number of recordings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, ClassVar, cast

from sedkit.formats.absolute_time import UTC_COLUMNS, moments, utc_text
from sedkit.formats.writers import Writer

if TYPE_CHECKING:
    import pyarrow

    from sedkit.results import Tagging, Timeline

COLUMNS = ("file", "label", "mid", "onset", "offset", "score")
GROUP = 1 << 16  # rows


class ParquetWriter(Writer):
    """Parquet (https://parquet.apache.org). The metadata of its schema names model and version, as JSON."""

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    takes = frozenset({"absolute_time"})
    binary = True
    modules = ("pyarrow",)
    extra = "formats"

    def begin(self) -> None:
        about = {"sedkit": self.run.version, "model": self.run.model, "results": self.run.kind}
        self.columns = COLUMNS + (UTC_COLUMNS if self.run.options.absolute_time else ())
        self.schema = schema(self.columns).with_metadata({"sedkit": json.dumps(about, ensure_ascii=False)})
        self.rows: list[tuple[Any, ...]] = []
        self.table = self.open(self.stream)

    def open(self, stream: IO[bytes]) -> Any:
        """Open the writer of pyarrow."""
        from pyarrow import parquet

        return parquet.ParquetWriter(stream, self.schema, compression="zstd")

    def write(self, result: Tagging | Timeline) -> None:
        file, duration = valid_utf8(result.file), round(result.duration, 3)
        found: list[tuple[Any, float, float]]
        if self.run.kind == "tags":
            found = [(tag, 0.0, duration) for tag in cast("Tagging", result).tags]
        else:
            found = [(event, event.onset, event.offset) for event in cast("Timeline", result).events]
        for item, onset, offset in found:
            times = round(onset, 3), round(offset, 3)
            row = (file, item.label, item.mid, *times, round(item.score, 4))
            absolute = tuple(moments(result, *times).values()) if self.run.options.absolute_time else ()
            self.rows.append(row + absolute)
            if len(self.rows) == GROUP:
                self.flush()

    def flush(self) -> None:
        """Write the rows that are waiting, as one group."""
        self.table.write_table(table_of((dict(zip(self.columns, row, strict=True)) for row in self.rows), self.schema))
        self.rows.clear()

    def finish(self) -> None:
        if self.rows:
            self.flush()
        self.table.close()


class ArrowWriter(ParquetWriter):
    """Arrow's IPC file format, also called Feather version 2."""

    suffixes = (".arrow", ".feather")

    def open(self, stream: IO[bytes]) -> Any:
        import pyarrow as pa

        return pa.ipc.new_file(stream, self.schema)


def schema(columns: tuple[str, ...] = COLUMNS) -> pyarrow.Schema:
    """The schema of these columns. Times are in seconds, to 1 ms; scores have four decimals, as in other formats."""
    import pyarrow as pa

    types = {
        "file": pa.string(),
        "label": pa.string(),
        "mid": pa.string(),
        "onset": pa.float64(),
        "offset": pa.float64(),
        "score": pa.float64(),
        "onset_utc": pa.timestamp("ms", "UTC"),
        "offset_utc": pa.timestamp("ms", "UTC"),
    }
    nullable = ("mid", *UTC_COLUMNS)
    return pa.schema([pa.field(name, types[name], name in nullable) for name in columns])


def table_of(rows: Iterable[Mapping[str, Any]], schema: pyarrow.Schema) -> pyarrow.Table:
    """A table of rows of text, numbers, times and None.

    The rows go through Arrow's JSON reader, because its constructors from Python objects import pandas where it is
    installed, which takes longer than most runs have to spare. So does a cast, which imports Arrow's functions.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    lines = "\n".join(json.dumps(row, default=utc_text) for row in rows)
    options = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    return pa.Table.from_arrays(
        arrow_json.read_json(BytesIO(lines.encode()), parse_options=options).columns, schema=schema
    )


def valid_utf8(name: str) -> str:
    r"""A name as Parquet can hold it: bytes that are not UTF-8 become ``\udcXX``, as in JSON."""
    return name.encode("utf-8", "backslashreplace").decode()
