"""Read the CSV and TSV tables that data sets come with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.data.manifest.problems import ManifestError


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV file, or a tab-separated ``.tsv`` file, with a header.

    Parameters
    ----------
    path : the file, in UTF-8.
    columns : names that the header must contain.

    Returns
    -------
    One dictionary per row, column name → text without surrounding white space.

    Raises
    ------
    ManifestError
        If the file cannot be read, lacks one of ``columns``, has two of one name, or has no rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", restval="")
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            for name in names:
                if name and names.count(name) > 1:
                    raise ManifestError(f"{path}: two columns {name!r}; remove or rename one of them")
            rows = []
            for row in reader:
                if None in row:
                    raise ManifestError(
                        f"{path}: line {reader.line_num}: more fields than columns; put text with commas in quotes"
                    )
                rows.append({name: row[name].strip() for name in names})
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a CSV file in UTF-8: {error}") from None
    require_columns(path, names, columns)
    if not rows:
        raise ManifestError(f"{path}: the table has no rows")
    return rows


def require_columns(path: Path, names: Iterable[str], columns: Sequence[str]) -> None:
    """Raise :class:`ManifestError` if the table ``path``, whose columns are ``names``, lacks one of ``columns``."""
    for column in columns:
        if column not in names:
            raise ManifestError(f"{path}: no column {column!r}; the columns must include {', '.join(columns)}")
