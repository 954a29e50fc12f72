"""The table of all recordings of a run, one row each, also for those without results: what a rate needs as its base."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from sedkit.formats.absolute_time import utc_text
from sedkit.formats.columnar import table_of, valid_utf8
from sedkit.formats.delimited import row_writer
from sedkit.formats.writers import Writer, harmless

if TYPE_CHECKING:
    import pyarrow

    from sedkit.results import Tagging, Timeline

COLUMNS = (
    "file", "duration", "sample_rate", "recorded_at", "results", "error", "model", "version", "settings",
)  # fmt: skip
ROWS = 10_000  # of a Parquet row group


class CsvRecordings(Writer):
    """The table as CSV: the columns of :data:`COLUMNS`; ``results`` is the number of tags or events."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)
    takes: ClassVar[frozenset[str]] = frozenset({"bom", "escape_formulas"})
    lists_failures: ClassVar[bool] = True
    delimiter: ClassVar[str] = ","

    def begin(self) -> None:
        self.common = {
            "model": self.run.model,
            "version": self.run.version,
            "settings": json.dumps(self.run.settings, ensure_ascii=False),
        }
        self.begin_rows()

    def begin_rows(self) -> None:
        """Write the header."""
        self.rows = row_writer(self.stream, self.delimiter)
        self.stream.write("\ufeff" if self.run.options.bom else "")
        self.rows.writerow(COLUMNS)

    def write(self, result: Tagging | Timeline) -> None:
        self.write_row(
            {
                "file": result.file,
                "duration": round(result.duration, 3),
                "sample_rate": result.sample_rate,
                "recorded_at": result.recorded_at,
                "results": len(getattr(result, self.run.kind)),
                **self.common,
            }
        )

    def fail(self, file: str, error: str) -> None:
        self.write_row({"file": file, "error": error, **self.common})

    def write_row(self, row: dict[str, Any]) -> None:
        """Write one row; columns that are missing are empty."""
        row["recorded_at"] = utc_text(row.get("recorded_at"))
        fields = [row.get(name) for name in COLUMNS]
        self.rows.writerow(map(harmless, fields) if self.run.options.escape_formulas else fields)


class TsvRecordings(CsvRecordings):
    """The table as TSV."""

    suffixes = (".tsv",)
    delimiter = "\t"


class ParquetRecordings(CsvRecordings):
    """The table as Parquet; ``recorded_at`` is a time in UTC."""

    suffixes = (".parquet",)
    binary = True
    takes = frozenset()
    modules = ("pyarrow",)
    extra = "formats"

    def begin_rows(self) -> None:
        import pyarrow
        from pyarrow import parquet

        types: dict[str, Any] = {
            "duration": pyarrow.float64(),
            "sample_rate": pyarrow.float64(),
            "recorded_at": pyarrow.timestamp("ms", "UTC"),
            "results": pyarrow.int64(),
        }
        self.schema: pyarrow.Schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in COLUMNS])
        self.table = parquet.ParquetWriter(self.stream, self.schema)
        self.waiting: list[dict[str, Any]] = []

    def write_row(self, row: dict[str, Any]) -> None:
        names = {column: valid_utf8(row[column]) for column in ("file", "error") if row.get(column)}
        self.waiting.append(row | names)
        if len(self.waiting) == ROWS:
            self.write_group()

    def write_group(self) -> None:
        """Write the rows that wait as a row group."""
        self.table.write_table(table_of(self.waiting, self.schema))
        self.waiting.clear()

    def finish(self) -> None:
        if self.waiting:
            self.write_group()
        self.table.close()


TABLES: tuple[type[CsvRecordings], ...] = (CsvRecordings, TsvRecordings, ParquetRecordings)
