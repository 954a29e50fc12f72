"""Output formats. :data:`FORMATS` maps the name of a format to its writer.

``writers``    the base class; JSON Lines, CSV, TSV and text
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
from importlib.util import find_spec

from sedkit.errors import OutputError
from sedkit.formats.captions import SrtWriter, VttWriter
from sedkit.formats.columnar import ArrowWriter, ParquetWriter
from sedkit.formats.documents import JamsWriter, LabelStudioWriter
from sedkit.formats.labels import AudacityWriter, ElanWriter, RttmWriter, TextGridWriter
from sedkit.formats.options import FormatOptions
from sedkit.formats.pictures import HtmlWriter, PdfWriter, PngWriter, SvgWriter
from sedkit.formats.tables import DcaseScoresWriter, DcaseWriter, KaleidoscopeWriter, RavenWriter
from sedkit.formats.writers import CsvWriter, JsonWriter, Kind, Run, TextWriter, TsvWriter, Writer

__all__ = ["FORMATS", "FormatOptions", "Kind", "Run", "Writer", "check_installed", "format_of"]

FORMATS: dict[str, type[Writer]] = {
    "text": TextWriter,
    "json": JsonWriter,
    "csv": CsvWriter,
    "tsv": TsvWriter,
    "parquet": ParquetWriter,
    "arrow": ArrowWriter,
    "audacity": AudacityWriter,
    "raven": RavenWriter,
    "kaleidoscope": KaleidoscopeWriter,
    "textgrid": TextGridWriter,
    "elan": ElanWriter,
    "srt": SrtWriter,
    "vtt": VttWriter,
    "jams": JamsWriter,
    "rttm": RttmWriter,
    "dcase": DcaseWriter,
    "dcase-scores": DcaseScoresWriter,
    "label-studio": LabelStudioWriter,
    "html": HtmlWriter,
    "png": PngWriter,
    "svg": SvgWriter,
    "pdf": PdfWriter,
}


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
