"""Output formats. :data:`FORMATS` maps the name of a format to its writer.

``writers``    the base class; JSON Lines, CSV, TSV and text
``delimited``  rows of CSV and TSV
``options``    the options of all formats
``recordings`` the table of all recordings
``columnar``   Parquet and Arrow
``labels``     Audacity, TextGrid, ELAN, RTTM
``captions``   SRT and WebVTT
``tables``     Raven, Kaleidoscope, DCASE
``documents``  JAMS, Label Studio
``pictures``   PNG, SVG, PDF (drawn by ``plot``), and pages for a browser (``html``)
``terminal``   drawing of tags and timelines as text, with rich
``scrolling``  drawing of a timeline that is still growing, for ``sedkit listen``
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sedkit.errors import OutputError

if TYPE_CHECKING:
    from sedkit.formats.writers import Writer

WRITERS = {  # format: module and class
    "text": "writers.TextWriter",
    "json": "writers.JsonWriter",
    "csv": "writers.CsvWriter",
    "tsv": "writers.TsvWriter",
    "parquet": "columnar.ParquetWriter",
    "arrow": "columnar.ArrowWriter",
    "audacity": "labels.AudacityWriter",
    "raven": "tables.RavenWriter",
    "kaleidoscope": "tables.KaleidoscopeWriter",
    "textgrid": "labels.TextGridWriter",
    "elan": "labels.ElanWriter",
    "srt": "captions.SrtWriter",
    "vtt": "captions.VttWriter",
    "jams": "documents.JamsWriter",
    "rttm": "labels.RttmWriter",
    "dcase": "tables.DcaseWriter",
    "dcase-scores": "tables.DcaseScoresWriter",
    "label-studio": "documents.LabelStudioWriter",
    "html": "pictures.HtmlWriter",
    "png": "pictures.PngWriter",
    "svg": "pictures.SvgWriter",
    "pdf": "pictures.PdfWriter",
}


class _Formats(Mapping[str, "type[Writer]"]):
    """The writers by format; a writer's module is imported when it is asked for."""

    def __getitem__(self, name: str) -> type[Writer]:
        module, _, writer = WRITERS[name].partition(".")
        found: type[Writer] = getattr(import_module(f"sedkit.formats.{module}"), writer)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(WRITERS)

    def __len__(self) -> int:
        return len(WRITERS)


FORMATS = _Formats()


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The format for a file name's ending, or None. Of several endings that fit, the longest decides."""
    name = os.path.basename(path).lower()
    endings = [
        (len(suffix), format_name)
        for format_name, writer in FORMATS.items()
        for suffix in writer.suffixes
        if name.endswith(suffix)
    ]
    return max(endings)[1] if endings else None


def check_installed(name: str, writer: type[Writer]) -> None:
    """Check that the modules which a format needs are installed; imports none of them.

    Raises
    ------
    OutputError
        If one is missing.
    """
    for module in writer.modules:
        if find_spec(module) is None:
            from sedkit.install import install_remedy

            raise OutputError(f"{name} needs {module}, which is not installed: {install_remedy(writer.extra)}")
