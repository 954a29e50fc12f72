"""Options of the output formats, which a writer finds in ``Run.options``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """One field for each command-line option that changes what a writer writes, but not the results.

    Attributes
    ----------
    bom : whether tables begin with a byte order mark, by which Excel recognises UTF-8.
    """

    bom: bool = False
