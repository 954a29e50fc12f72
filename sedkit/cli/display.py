"""How ``sedkit listen`` shows what it hears: an object a line, a line an event, or a timeline that rolls by."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import click

from sedkit.cli.output import standard_output
from sedkit.errors import OutputError
from sedkit.results import Event, Second

if TYPE_CHECKING:
    from sedkit.timeline.events import Resolution


REDRAW = 0.05  # seconds between two drawings, at least
LOST = "sound was lost at {}: the model does not keep up; a smaller one would"


class Display(Protocol):
    """Shows cells and events as they come; a context manager."""

    def add(self, found: Second | Event) -> None:
        """The next cell or event."""

    def lose(self, at: float) -> None:
        """Sound was lost at `at`, in seconds."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def display(
    format_name: Literal["text", "jsonl"], name: str, sample_rate: float, model: str, resolution: Resolution
) -> Display:
    """What suits the format and the terminal; the rest describes what is listened to."""
    if format_name == "jsonl":
        return JsonLines(name, sample_rate, model, resolution)
    moves = sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return Rolls(name) if moves else EventLines()


class Lines:
    """Writes lines, each handed on at once."""

    def __init__(self) -> None:
        self.stream = standard_output("backslashreplace")

    def line(self, text: str) -> None:
        with told():
            print(text, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return


class JsonLines(Lines):
    """The records that docs/timeline.md describes."""

    def __init__(self, name: str, sample_rate: float, model: str, resolution: Resolution) -> None:
        super().__init__()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.record("start", time=now, source=name, sample_rate=sample_rate, model=model, resolution=resolution)

    def record(self, kind: str, **fields: Any) -> None:
        self.line(json.dumps({"type": kind, **fields}, ensure_ascii=False, allow_nan=False))

    def add(self, found: Second | Event) -> None:
        self.record("event" if isinstance(found, Event) else "second", **found.to_dict())

    def lose(self, at: float) -> None:
        self.record("lost", time=round(at, 3))
        complain_of_loss(at)


class EventLines(Lines):
    """An event a line, for a person who reads a file or a terminal without a cursor."""

    def add(self, found: Second | Event) -> None:
        if isinstance(found, Event):
            from sedkit.formats.terminal import clock

            onset, offset = clock(found.onset, 3600, 2), clock(found.offset, 3600, 2)
            self.line(f"{onset} - {offset}  {found.label}  {found.score:.2f}")

    def lose(self, at: float) -> None:
        complain_of_loss(at)


class Rolls:
    """A timeline that is drawn again whenever it grows."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        from sedkit.formats.live import Rolling

        self.view, self.drawn = Rolling(name), 0.0
        console = Console(file=standard_output("replace"), highlight=False)
        self.live = Live(self.view, console=console, auto_refresh=False)

    def add(self, found: Second | Event) -> None:
        self.view.add(found)
        if isinstance(found, Event) or time.monotonic() - self.drawn > REDRAW:
            self.draw()

    def lose(self, at: float) -> None:
        from sedkit.formats.terminal import clock

        self.view.notice = LOST.format(clock(at, at))
        self.draw()

    def draw(self) -> None:
        with told():
            self.live.refresh()
        self.drawn = time.monotonic()

    def __enter__(self) -> Self:
        self.live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with told():
            self.live.stop()


def complain_of_loss(at: float) -> None:
    """Say on standard error that sound was lost."""
    from sedkit.formats.terminal import clock

    click.echo(f"sedkit: {LOST.format(clock(at, 3600))}", err=True)


@contextmanager
def told() -> Iterator[None]:
    """An error of standard output as a line."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from None
