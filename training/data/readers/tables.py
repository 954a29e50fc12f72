"""Tables of text that data sets come with."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from sedkit.contract import Label
from training.data.manifest.problems import ManifestError


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV (or .tsv) with a header, which must have ``columns``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", restval="")
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = []
            for row in reader:
                if None in row:
                    raise ManifestError(f"{path}: line {reader.line_num}: more fields than columns; quote commas")
                rows.append({name: row[name].strip() for name in names})
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a CSV in UTF-8: {error}") from None
    check_columns(path, names, columns)
    if not rows:
        raise ManifestError(f"{path}: no rows in it")
    return rows


def check_columns(path: Path, names: Iterable[str], columns: Sequence[str]) -> None:
    """Raise if a table with columns ``names`` lacks one of ``columns``."""
    for column in columns:
        if column not in names:
            raise ManifestError(f"{path}: no column {column!r}; it must have {', '.join(columns)}")


@cache
def audioset_labels(path: Path) -> dict[str, Label]:
    """Category of a data set → AudioSet class, from a table ``category, mid, name, index, relation, note``."""
    rows = read_table(path, ("category", "mid", "name", "index"))
    return {row["category"]: Label(row["name"], row["mid"], int(row["index"])) for row in rows}


def audioset_index(label: Label) -> int:
    """Place of a class in AudioSet's order."""
    return label.index or 0
