"""Output formats. :data:`FORMATS` maps the name of a format to its writer.

``writers``    JSON Lines, CSV, TSV and text
``terminal``   drawing of tags and timelines as text, with rich
``scrolling``  drawing of a timeline that is still growing, for ``sedkit listen``
"""

from __future__ import annotations

from pathlib import Path

from sedkit.formats.writers import CsvWriter, JsonWriter, Kind, TextWriter, TsvWriter, Writer

__all__ = ["FORMATS", "Kind", "Writer", "format_of"]

FORMATS: dict[str, type[Writer]] = {
    "text": TextWriter,
    "json": JsonWriter,
    "csv": CsvWriter,
    "tsv": TsvWriter,
}


def format_of(path: str | Path) -> str | None:
    """The format for a file name's suffix, or None."""
    suffix = Path(path).suffix.lower()
    return next((name for name, writer in FORMATS.items() if suffix in writer.suffixes), None)
