"""Parquet and Arrow, with the columns that sedkit writes: file, label, and for events onset and offset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from sedkit.errors import AnnotationError
from sedkit.formats.reading.annotations import (
    Annotations,
    Row,
    began,
    columns_of_times,
    event,
    grouped,
    named,
    tag,
)
from sedkit.results import Event

if TYPE_CHECKING:
    import pyarrow


def read_parquet(path: Path) -> list[Annotations]:
    """Read a Parquet file."""
    return _annotations(path, _table(path))


def read_arrow(path: Path) -> list[Annotations]:
    """Read an Arrow file (IPC, Feather)."""
    return _annotations(path, _table(path))


def lists_tags(path: Path) -> bool:
    """Whether the columns of a table are those of tags."""
    return _times(path, _table(path)) is None


def _table(path: Path) -> pyarrow.Table:
    import pyarrow as pa
    from pyarrow import feather, parquet

    path.stat()
    try:
        if path.suffix.lower() == ".parquet":
            return parquet.ParquetFile(path).read()
        return feather.read_table(path, memory_map=False)
    except pa.ArrowException as error:
        raise _unreadable(path, error) from None


def _annotations(path: Path, table: pyarrow.Table) -> list[Annotations]:
    missing = {"file", "label"} - set(table.column_names)
    if missing:
        raise AnnotationError(f"{path}: has no column {min(missing)}; tables of events have file, onset, offset, label")
    times = _times(path, table)
    rows = []
    for number, row in enumerate(table.to_pylist(), 1):
        place, about_class = f"{path}, row {number}", (row["label"], row.get("mid"), row.get("score"))
        found = event(place, row[times[0]], row[times[1]], *about_class) if times else tag(place, *about_class)
        seconds = found.onset if isinstance(found, Event) else 0.0
        rows.append(Row(named(place, row["file"]), found, began(row.get("onset_utc"), seconds)))
    return grouped(rows)


def _times(path: Path, table: pyarrow.Table) -> tuple[str, str] | None:
    """The columns of onset and offset; None for tags."""
    about = json.loads((table.schema.metadata or {}).get(b"sedkit", b"{}"))
    return None if about.get("results") == "tags" else columns_of_times(path, table.column_names)


def _unreadable(path: Path, error: Exception) -> AnnotationError:
    return AnnotationError(f"{path}: not readable ({str(error).splitlines()[0][:100]}); write it again")
