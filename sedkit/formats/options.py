"""Options of the output formats, which a writer finds in ``Run.options``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """One field for each command-line option that changes what a writer writes, but not the results.

    Attributes
    ----------
    bom : whether tables begin with a byte order mark, by which Excel recognises UTF-8.
    escape_formulas : whether CSV and TSV have an apostrophe before text that a spreadsheet would run as a formula.
    absolute_time : whether CSV, TSV, JSON, Parquet and Arrow also have times in UTC.
    caption_style : text of a caption, with ``{}`` for the sounds.
    merge : path of subtitles that captions are put between; None for captions alone.
    audio : how a page of HTML gets its audio: ``"auto"``, ``"embed"``, ``"link"`` or ``"none"``
        (:func:`sedkit.formats.html.audio.audio_of`).
    """

    bom: bool = False
    escape_formulas: bool = False
    absolute_time: bool = False
    caption_style: str = "[{}]"
    merge: str | None = None
    audio: Literal["auto", "embed", "link", "none"] = "auto"
