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
from sedkit.results import Event, Onset, Second

if TYPE_CHECKING:
    from sedkit.alerts.alert import Alert
    from sedkit.audio.live import Incident
    from sedkit.timeline.grid import Resolution

STANDARD_OUTPUT = "standard output"  # in error messages
REDRAW_INTERVAL = 0.05  # seconds, minimum
SOUND_LOST = "sound was lost at {}: this machine is too slow for the model; choose a smaller --model"


class Display(Protocol):
    """Shows cells, onsets and events as they arrive. A context manager."""

    def add(self, item: Second | Event | Onset) -> None:
        """Show the next cell, onset or event."""

    def lose(self, at: float) -> None:
        """Report that sound was lost at this time, in seconds."""

    def tell(self, incident: Incident) -> None:
        """Report what happened to the source."""

    def end(self, at: float) -> None:
        """Report that the source was lost at this time, in seconds."""

    def warn(self, alert: Alert) -> None:
        """Report that an alert has begun or ended."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def make_display(
    format_name: Literal["text", "jsonl"],
    name: str,
    sample_rate: float,
    model: str,
    resolution: Resolution,
    start: datetime,
) -> Display:
    """The display for a format and for standard output.

    Parameters
    ----------
    name, sample_rate : of the source.
    model, resolution, start : the model's name, the length of cells, and the time of second 0; for the first record of
        JSON Lines.
    """
    if format_name == "jsonl":
        return JsonLines(name, sample_rate, model, resolution, start)
    has_cursor = sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    return ScrollingTimeline(name) if has_cursor else EventLines(name)


class Lines:
    """Base of displays that write lines to standard output, each flushed at once.

    Parameters
    ----------
    name : of the source.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stream = standard_output("backslashreplace")

    def write_line(self, text: str) -> None:
        with write_errors(STANDARD_OUTPUT):
            print(text, file=self.stream, flush=True)

    def lose(self, at: float) -> None:
        from sedkit.formats.terminal import clock

        print_notice(SOUND_LOST.format(clock(at, 3600)))

    def tell(self, incident: Incident) -> None:
        print_notice(f"{self.name}: {incident_text(incident)}")

    def end(self, at: float) -> None:
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return


class JsonLines(Lines):
    """One JSON object per line, as described in docs/listen.md."""

    def __init__(self, name: str, sample_rate: float, model: str, resolution: Resolution, start: datetime) -> None:
        super().__init__(name)
        time = start.astimezone(UTC).isoformat(timespec="milliseconds")
        self.write_record("start", time=time, source=name, sample_rate=sample_rate, model=model, resolution=resolution)

    def write_record(self, kind: str, **fields: Any) -> None:
        self.write_line(json.dumps({"type": kind, **fields}, ensure_ascii=False, allow_nan=False))

    def add(self, item: Second | Event | Onset) -> None:
        self.write_record(type(item).__name__.lower(), **item.to_dict())

    def lose(self, at: float) -> None:
        self.write_record("lost", time=round(at, 3))
        super().lose(at)

    def tell(self, incident: Incident) -> None:
        at = round(incident.at, 3)
        if incident.kind == "lost":
            self.write_record("lost", time=at, **{"from": at, "to": round(incident.at + incident.seconds, 3)})
        else:
            self.write_record(incident.kind, at=at, seconds=round(incident.seconds, 3))
        super().tell(incident)

    def end(self, at: float) -> None:
        self.write_record("lost", time=round(at, 3), **{"from": round(at, 3), "to": None})

    def warn(self, alert: Alert) -> None:
        self.write_record("alert", **alert.to_dict())


class EventLines(Lines):
    """One line of text per event, and one when a long event begins; for a terminal without cursor control."""

    def add(self, item: Second | Event | Onset) -> None:
        if isinstance(item, Event | Onset):
            from sedkit.formats.terminal import clock

            onset = clock(item.onset, 3600, 2)
            offset = clock(item.offset, 3600, 2) if isinstance(item, Event) else "..."
            self.write_line(f"{onset} - {offset:<{len(onset)}}  {item.label}  {item.score:.2f}")

    def warn(self, alert: Alert) -> None:
        self.write_line(alert_text(alert))


class ScrollingTimeline:
    """A timeline on a terminal, redrawn as it grows."""

    def __init__(self, name: str) -> None:
        self.name = name
        from rich.console import Console
        from rich.live import Live

        from sedkit.formats.scrolling import ScrollingLanes

        self.view, self.last_drawn = ScrollingLanes(name), 0.0
        console = Console(file=standard_output("replace"), highlight=False)
        self.live = Live(self.view, console=console, auto_refresh=False)

    def add(self, item: Second | Event | Onset) -> None:
        self.view.add(item)
        if not isinstance(item, Second) or time.monotonic() - self.last_drawn > REDRAW_INTERVAL:
            self.draw()

    def lose(self, at: float) -> None:
        from sedkit.formats.terminal import clock

        self.show(SOUND_LOST.format(clock(at, at)))

    def tell(self, incident: Incident) -> None:
        self.show(f"{self.name}: {incident_text(incident)}")

    def end(self, at: float) -> None:
        return

    def warn(self, alert: Alert) -> None:
        self.show(alert_text(alert))

    def show(self, notice: str) -> None:
        self.view.notice = notice
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


def incident_text(incident: Incident) -> str:
    """What happened to the source, in words."""
    from sedkit.formats.terminal import clock

    if incident.kind == "stalled":
        cause = f"{incident.cause}; " if incident.cause else ""
        return f"{cause}no audio for {incident.seconds:.0f} s; waiting for it"
    if incident.kind == "resumed":
        return f"audio again after {incident.seconds:.0f} s"
    start, end = clock(incident.at, 3600), clock(incident.at + incident.seconds, 3600)
    return f"no audio from {start} to {end}; there is silence instead"


def alert_text(alert: Alert) -> str:
    """An alert in words."""
    from sedkit.formats.terminal import clock

    if alert.offset is not None:
        return f"{clock(alert.offset, 3600, 2)}  end of alert {alert.rule}"
    return f"{clock(alert.onset, 3600, 2)}  alert {alert.rule}: {alert.label}  {alert.score:.2f}"
