"""Rows of a manifest as text, and reading them into columns of text."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from training.data.manifest.columns import CHUNK, TEXT, scalar
from training.data.manifest.problems import ManifestError


class Row(NamedTuple):
    """One row of a manifest as text; training.data.manifest.table explains the fields."""

    path: str = ""
    start: str = ""
    duration: str = ""
    labels: str = ""
    split: str = ""
    group: str = ""
    license: str = ""
    attribution: str = ""


HEADER = Row._fields
Columns = dict[str, pa.ChunkedArray]  # name → texts, for every name in HEADER


def columns_of(rows: Iterable[Sequence[str]], names: Sequence[str] = HEADER) -> Columns:
    """Turn rows of text into columns named ``names``; missing fields at the end of a row become empty."""
    schema = pa.schema([(name, TEXT) for name in names])
    table = pa.Table.from_batches(list(_batches(iter(rows), schema)), schema)
    return {name: table[name] for name in names}


def _batches(rows: Iterator[Sequence[str]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while chunk := list(islice(rows, CHUNK)):
        if set(map(len, chunk)) != {len(schema)}:
            chunk = [(*row, *[""] * (len(schema) - len(row))) for row in chunk]
        yield pa.record_batch([pa.array(column, TEXT) for column in zip(*chunk, strict=True)], schema)


def read_columns(path: Path) -> Columns:
    """Read the columns of a manifest file; missing columns are empty.

    Raises
    ------
    ManifestError
        If the file cannot be read or its columns are not those of a manifest.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = [name.strip() for name in next(csv.reader(file), [])]
            _check_header(names, path)
        try:
            table = pyarrow.csv.read_csv(
                path,
                pyarrow.csv.ReadOptions(column_names=names, skip_rows=1),
                pyarrow.csv.ParseOptions(newlines_in_values=True),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, TEXT)),
            )
            columns = {name: table[name] for name in names}
            del table  # frees each column below once it is converted, instead of holding all of them twice
        except pa.ArrowInvalid:  # rows of unequal length, which Python's reader accepts, or not a CSV file
            with path.open(encoding="utf-8-sig", newline="") as file:
                columns = columns_of(_regular_rows(csv.reader(file), len(names), path), names)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a CSV file in UTF-8: {error}") from None
    empty = pa.chunked_array([pa.repeat(scalar(""), len(columns["path"]))])
    return {name: pc.utf8_trim_whitespace(columns.pop(name)) if name in names else empty for name in HEADER}


def _check_header(names: Sequence[str], path: Path) -> None:
    for name in names:
        if name not in HEADER or names.count(name) > 1:
            what = "unknown column" if name not in HEADER else "two columns"
            raise ManifestError(f"{path}: {what} {name!r}; the columns of a manifest are {','.join(HEADER)}")
    for name in ("path", "labels"):
        if name not in names:
            raise ManifestError(
                f"{path}: no column {name!r}; the columns of a manifest are {','.join(HEADER)} "
                "(sedkit-train data csv converts other tables)"
            )


def _regular_rows(reader: Iterator[list[str]], columns: int, path: Path) -> Iterator[list[str]]:
    next(reader)
    for fields in reader:
        if len(fields) > columns:
            line = reader.line_num  # type: ignore[attr-defined]
            raise ManifestError(f"{path}: line {line}: more fields than columns; put text with commas in quotes")
        if fields:
            yield fields


def read_seconds(texts: pa.Array, empty: float) -> NDArray[np.float64]:
    """Parse a column of seconds: [rows] float64, ``empty`` for empty texts, -1 for texts that are not numbers."""
    encoded = texts.dictionary_encode()
    values = np.array([number(text) if text else empty for text in encoded.dictionary.to_pylist()], np.float64)
    seconds: NDArray[np.float64] = values[encoded.indices.to_numpy()]
    return seconds


def number(text: str) -> float:
    """The number that ``text`` is; -1 if it is none."""
    try:
        value = float(text)
    except ValueError:
        return -1.0
    return -1.0 if math.isnan(value) else value
