"""Displays for ``sedkit listen``: JSON Lines, one line per event, or a scrolling timeline on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from sedkit.cli.messages import print_notice
from sedkit.cli.output import standard_output, write_errors
from sedkit.results import Event, Second

if TYPE_CHECKING:
    from sedkit.timeline.grid import Resolution

STANDARD_OUTPUT = "standard output"  # in error messages
REDRAW_INTERVAL = 0.05  # seconds, minimum
SOUND_LOST = "sound was lost at {}: this machine is too slow for the model; choose a smaller --model"


class Display(Protocol):
    """Shows cells and events as they arrive. A context manager."""

    def add(self, item: Second | Event) -> None:
        """Show the next cell or event."""

    def lose(self, at: float) -> None:
        """Report that sound was lost at this time, in seconds."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def make_display(
    format_name: Literal["text", "jsonl"], name: str, sample_rate: float, model: str, resolution: Resolution
) -> Display:
    """The display for a format and for standard output.

    Parameters
    ----------
    name, sample_rate : of the source.
    model, resolution : the model's name and the length of cells; for the first record of JSON Lines.
    """
    if format_name == "jsonl":
        return JsonLines(name, sample_rate, model, resolution)
    has_cursor = sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return ScrollingTimeline(name) if has_cursor else EventLines()


class Lines:
    """Base of displays that write lines to standard output, each flushed at once."""

    def __init__(self) -> None:
        self.stream = standard_output("backslashreplace")

    def write_line(self, text: str) -> None:
        with write_errors(STANDARD_OUTPUT):
            print(text, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return


class JsonLines(Lines):
    """One JSON object per line, as described in docs/timeline.md."""

    def __init__(self, name: str, sample_rate: float, model: str, resolution: Resolution) -> None:
        super().__init__()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.write_record("start", time=now, source=name, sample_rate=sample_rate, model=model, resolution=resolution)

    def write_record(self, kind: str, **fields: Any) -> None:
        self.write_line(json.dumps({"type": kind, **fields}, ensure_ascii=False, allow_nan=False))

    def add(self, item: Second | Event) -> None:
        self.write_record("event" if isinstance(item, Event) else "second", **item.to_dict())

    def lose(self, at: float) -> None:
        self.write_record("lost", time=round(at, 3))
        print_loss(at)


class EventLines(Lines):
    """One line of text per event, for a file or a terminal without cursor control."""

    def add(self, item: Second | Event) -> None:
        if isinstance(item, Event):
            from sedkit.formats.terminal import clock

            onset, offset = clock(item.onset, 3600, 2), clock(item.offset, 3600, 2)
            self.write_line(f"{onset} - {offset}  {item.label}  {item.score:.2f}")

    def lose(self, at: float) -> None:
        print_loss(at)


class ScrollingTimeline:
    """A timeline on a terminal, redrawn as it grows."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        from sedkit.formats.scrolling import ScrollingLanes

        self.view, self.last_drawn = ScrollingLanes(name), 0.0
        console = Console(file=standard_output("replace"), highlight=False)
        self.live = Live(self.view, console=console, auto_refresh=False)

    def add(self, item: Second | Event) -> None:
        self.view.add(item)
        if isinstance(item, Event) or time.monotonic() - self.last_drawn > REDRAW_INTERVAL:
            self.draw()

    def lose(self, at: float) -> None:
        from sedkit.formats.terminal import clock

        self.view.notice = SOUND_LOST.format(clock(at, at))
        self.draw()

    def draw(self) -> None:
        with write_errors(STANDARD_OUTPUT):
            self.live.refresh()
        self.last_drawn = time.monotonic()

    def __enter__(self) -> Self:
        self.live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with write_errors(STANDARD_OUTPUT):
            self.live.stop()


def print_loss(at: float) -> None:
    """Report on standard error that sound was lost."""
    from sedkit.formats.terminal import clock

    print_notice(SOUND_LOST.format(clock(at, 3600)))
