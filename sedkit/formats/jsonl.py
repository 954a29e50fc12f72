"""JSON Lines (https://jsonlines.org): one object a recording, one recording a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sedkit.formats.writer import Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline


class JsonWriter(Writer):
    """The whole result: what ``to_dict()`` of it returns."""

    suffixes = (".json", ".jsonl", ".ndjson")
    errors = "backslashreplace"  # "\udc80", which in JSON is the escape of that very character

    def write(self, result: Tagging | Timeline) -> None:
        self.stream.write(json.dumps(result.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")
