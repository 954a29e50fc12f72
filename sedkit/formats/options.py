"""Options of the output formats, which a writer finds in ``Run.options``; options as text, for error messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


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


def option_text(name: str, value: Any) -> str:
    """An option and its value, for an error message; a pair in a list is a class and its value, ``*`` all classes."""
    if value is None or value is False or value == []:
        return f"no {name}"
    if not isinstance(value, list):
        return f"{name} {value}"
    words = [item if isinstance(item, list) else ["*", item] for item in value]
    return f"{name} {', '.join(str(word[-1]) if word[0] == '*' else '='.join(map(str, word)) for word in words)}"
