"""One row of a manifest as text, and where rows of text come from."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from training.data.problems import ManifestError


class Row(NamedTuple):
    """One row of a manifest, as text."""

    path: str = ""
    start: str = ""
    duration: str = ""
    labels: str = ""
    split: str = ""
    group: str = ""
    license: str = ""
    attribution: str = ""


HEADER = Row._fields


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a manifest file.

    Raises
    ------
    ManifestError
        If it cannot be read or its columns are not those of a manifest.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            for name in header:
                if name not in HEADER:
                    raise ManifestError(f"{path}: unknown column {name!r}; a manifest has {','.join(HEADER)}")
            for name in ("path", "labels"):
                if name not in header:
                    raise ManifestError(
                        f"{path}: no column {name!r}; a manifest has {','.join(HEADER)} "
                        "(python -m training.data csv makes one of other tables)"
                    )
            for fields in reader:
                if fields:
                    if len(fields) > len(header):
                        raise ManifestError(f"{path}: line {reader.line_num}: more fields than columns; quote commas")
                    yield Row(**dict(zip(header, map(str.strip, fields), strict=False)))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a CSV in UTF-8: {error}") from None


def read_times(row: Row) -> tuple[tuple[str, str] | None, float, float]:
    """A fault (kind, example) or None, and start and duration in seconds."""
    if not row.start and not row.duration:
        return None, 0.0, math.nan
    try:
        start = float(row.start or 0)
        duration = float(row.duration) if row.duration else math.nan
        fine = 0 <= start < math.inf and (not row.duration or 0 < duration < math.inf)
    except ValueError:
        fine = False
    if not fine:
        return ("bad number", f"start {row.start!r}, duration {row.duration!r} of {row.path}"), 0.0, 0.0
    return None, start, duration
