"""Output formats: one small writer each, picked from :data:`FORMATS` by name."""

from __future__ import annotations

from pathlib import Path

from sedkit.formats.jsonl import JsonWriter
from sedkit.formats.table import CsvWriter, TsvWriter
from sedkit.formats.text import TextWriter
from sedkit.formats.writer import Kind, Writer

__all__ = ["FORMATS", "Kind", "Writer", "format_of"]

FORMATS: dict[str, type[Writer]] = {
    "text": TextWriter,
    "json": JsonWriter,
    "csv": CsvWriter,
    "tsv": TsvWriter,
}


def format_of(path: str | Path) -> str | None:
    """The format that the ending of a file name asks for, or None."""
    ending = Path(path).suffix.lower()
    return next((name for name, writer in FORMATS.items() if ending in writer.suffixes), None)
