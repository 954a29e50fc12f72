"""Results to write, for the tests of the formats, and writing of them to a file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from sedkit.contract import Label
from sedkit.formats import FORMATS
from sedkit.formats.options import FormatOptions
from sedkit.formats.writers import Run
from sedkit.results import Event, Second, Tag, Tagging, Timeline

BABY = "Baby cry, infant cry"
LABELS = (Label("Dog", "/m/0bt9lr", 74), Label(BABY, "/t/dd00002", 23))
DOG, BABIES = Event(0.25, 1.5, "Dog", "/m/0bt9lr", 0.9), Event(1.0, 4.125, BABY, "/t/dd00002", 0.75)
MINE = Event(4.5, 4.75, "Mine", None, 0.5)
RECORDED_AT = datetime(2024, 5, 1, 5, 30, tzinfo=UTC)


def timeline(file: str = "night.wav", *events: Event, duration: float = 5.0, **fields: Any) -> Timeline:
    """A timeline with these events, 1 s cells and their scores."""
    seconds = tuple(Second(float(start), float(start + 1), ()) for start in range(int(duration)))
    scores = np.linspace(0, 1, len(seconds) * 2, dtype=np.float32).reshape(-1, 2)
    return Timeline(file, duration, 1.0, seconds, events, scores, LABELS, **fields)


def tagging(file: str = "night.wav", *tags: Tag) -> Tagging:
    return Tagging(file, 5.0, tags)


def write(path: Path, name: str, *results: Tagging | Timeline, **options: Any) -> Path:
    """Write results to a file in the format `name`."""
    kind = "tags" if results and isinstance(results[0], Tagging) else "events"
    writer_class = FORMATS[name]
    run = Run(kind, [result.file for result in results], path, "demo", {}, FormatOptions(**options))
    with open(
        path,
        "wb" if writer_class.binary else "w",
        **({} if writer_class.binary else {"encoding": "utf-8", "errors": writer_class.errors, "newline": "\n"}),
    ) as stream:
        writer = writer_class(stream, run)
        for result in results:
            writer.write(result)
        writer.finish()
    return path
