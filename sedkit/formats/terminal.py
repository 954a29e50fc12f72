"""Drawing of results in a terminal (rich renderables).

Scores are drawn as the height or length of a block. Colours only repeat what the labels say, so output without colour
is complete. If the output's encoding lacks block characters, ASCII characters are used.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

if TYPE_CHECKING:
    from sedkit.results import Event, Onset, Second, Tagging, Timeline

PALETTE = ("cyan", "yellow", "green", "magenta", "blue", "red", "bright_cyan", "bright_yellow", "bright_green")
QUIET = "bright_black"
NOTHING = "nothing heard: no class scores high enough"

MAX_SYSTEMS = 4  # a long timeline wraps onto at most this many systems of lanes; longer ones are compressed
LANE_WIDTHS = (10, 120)  # minimum and maximum number of columns of a lane
LABEL_WIDTH = 30  # maximum number of columns of a lane's label
BAR_WIDTH = 24  # maximum number of columns of a tag's bar
MAX_EVENTS = 40  # listed below the lanes
TICKS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)  # seconds


@dataclass(frozen=True)
class Glyphs:
    """The characters used for drawing."""

    heights: str  # eight steps for a score in [0, 1]
    eighths: str  # of a column, for the end of a bar; empty if there are no such characters
    full: str  # a whole column of a bar
    rail: str  # a lane where its class is absent
    line: str
    tick: str
    swatch: str
    dot: str
    ellipsis: str

    @classmethod
    def of(cls, options: ConsoleOptions) -> Glyphs:
        return ASCII if options.ascii_only else BLOCKS


BLOCKS = Glyphs("▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉", "█", "·", "─", "┬", "■", " · ", "…")
ASCII = Glyphs(".:-=+*#@", "", "#", " ", "-", "+", "#", ", ", "...")


@dataclass(frozen=True)
class TagBars:
    """The tags of one recording: one row per tag, with a bar for its score."""

    tagging: Tagging

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = Glyphs.of(options)
        yield heading(self.tagging.file, self.tagging.duration, options)
        if not self.tagging.tags:
            yield Text("  " + NOTHING, QUIET)
        bar_width = min(BAR_WIDTH, options.max_width // 3)
        widest = max((cell_len(tag.label) for tag in self.tagging.tags), default=0)
        width = max(1, min(widest, options.max_width - bar_width - 10))
        for rank, tag in enumerate(self.tagging.tags):
            yield Text.assemble(
                ("  " + fit(tag.label, width, glyphs), "" if rank else "bold"),
                ("  " + set_cell_size(bar(tag.score, bar_width, glyphs), bar_width), "blue" if rank else "cyan"),
                f"  {tag.score:.2f}",
                no_wrap=True,
            )


@dataclass(frozen=True)
class TagLine:
    """The tags of one of several recordings on a single line: its name, then its tags by descending score.

    Parameters
    ----------
    tagging : the result to draw.
    files : names of all recordings; they determine the width of the first column.
    """

    tagging: Tagging
    files: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = Glyphs.of(options)
        widest = max((cell_len(printable(name)) for name in self.files), default=0)
        width = min(widest, max(12, options.max_width * 2 // 5))
        line = Text(fit_end(printable(self.tagging.file), width, glyphs) + "  ", no_wrap=True)
        if not self.tagging.tags:
            line.append(NOTHING, QUIET)
        for rank, tag in enumerate(self.tagging.tags):
            text, score = (glyphs.dot if rank else "") + tag.label, f" {tag.score:.2f}"
            room = options.max_width - line.cell_len - len(score)
            if rank and cell_len(text) > room:
                break
            line.append(fit(text, max(1, min(cell_len(text), room)), glyphs), "" if rank else "bold cyan")
            line.append(score, QUIET if rank else "bold")
        yield line


@dataclass(frozen=True)
class Lanes:
    """A timeline: one coloured lane per class that is present, a time axis below them, then the events."""

    timeline: Timeline

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        timeline, glyphs = self.timeline, Glyphs.of(options)
        yield heading(timeline.file, timeline.duration, options)
        colours = self.colours()
        if not colours:
            yield Text("  no class reaches its threshold", QUIET)
            return
        label_width = min(LABEL_WIDTH, options.max_width // 3, max(cell_len(name) for name in colours))
        least, most = LANE_WIDTHS
        width = max(least, min(most, options.max_width - label_width - 4))
        systems = max(1, min(MAX_SYSTEMS, -(-len(timeline.seconds) // width)))
        span = timeline.duration / systems
        for system in range(systems):
            if system:
                yield Text()
            start = system * span
            yield from lanes(columns(timeline.seconds, start, span, width), colours, label_width, glyphs)
            yield from axis(start, span, width, label_width + 2, timeline.duration, glyphs)
        yield Text()
        yield from self.events(colours, options.max_width, glyphs)

    def colours(self) -> dict[str, str]:
        """Colours of the classes that are present, in order of first appearance."""
        names = [tag.label for second in self.timeline.seconds for tag in second.tags]
        names += [event.label for event in self.timeline.events]
        return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(dict.fromkeys(names))}

    def events(self, colours: dict[str, str], max_width: int, glyphs: Glyphs) -> Iterator[Text]:
        """One line per event, for the first MAX_EVENTS."""
        events, reach = self.timeline.events, self.timeline.duration
        yield from event_lines(events[:MAX_EVENTS], reach, colours, max_width, glyphs)
        if len(events) > MAX_EVENTS:
            yield Text(f"  and {len(events) - MAX_EVENTS} more events: --format tsv lists them all", QUIET)


def lanes(
    columns: Sequence[Mapping[str, float]], colours: dict[str, str], label_width: int, glyphs: Glyphs
) -> Iterator[Text]:
    """One line per class that is present in one of the columns."""
    for name, colour in colours.items():
        if not any(name in column for column in columns):
            continue
        line = Text.assemble((fit(name, label_width, glyphs), colour), "  ", no_wrap=True)
        for (glyph, style), run in groupby(cell_style(column.get(name), colour, glyphs) for column in columns):
            line.append(glyph * len(list(run)), style)
        yield line


def event_lines(
    events: Collection[Event | Onset], reach: float, colours: Mapping[str, str], max_width: int, glyphs: Glyphs
) -> Iterator[Text]:
    """One line per event; those that go on have no offset. ``reach``: length of the recording in seconds."""
    from sedkit.results import Event

    digits = len(clock(reach, reach, 2))
    widest = max((cell_len(event.label) for event in events), default=0)
    width = max(1, min(widest, max_width - 2 * digits - 15))
    for event in events:
        onset = clock(event.onset, reach, 2).rjust(digits)
        offset = (clock(event.offset, reach, 2) if isinstance(event, Event) else "").rjust(digits)
        yield Text.assemble(
            f"  {onset} - {offset}  ",
            (glyphs.swatch, colours[event.label]),
            f" {fit(event.label, width, glyphs)}  {event.score:.2f}",
            no_wrap=True,
        )


def cell_style(score: float | None, colour: str, glyphs: Glyphs) -> tuple[str, str]:
    """Character and style of one column of a lane. ``score`` is None if the class is absent."""
    if score is None:
        return glyphs.rail, QUIET
    return glyphs.heights[min(7, int(score * 8))], f"bold {colour}" if score >= 0.5 else colour


def columns(cells: Sequence[Second], start: float, span: float, width: int) -> list[dict[str, float]]:
    """Map ``span`` seconds from ``start`` to ``width`` columns; return the highest score of each class per column.

    A column shows the cell at its middle and all cells whose middle is in it, so every cell is shown.
    """
    step = span / width
    scores: list[dict[str, float]] = []
    first = 0
    for column in range(width):
        left, right = start + column * step, start + (column + 1) * step
        middle = (left + right) / 2
        present: dict[str, float] = {}
        while first < len(cells) - 1 and cells[first].end <= left:
            first += 1
        for cell in cells[first:]:
            if cell.start >= right:
                break
            if cell.start <= middle < cell.end or left <= (cell.start + cell.end) / 2 < right:
                for tag in cell.tags:
                    present[tag.label] = max(tag.score, present.get(tag.label, 0.0))
        scores.append(present)
    return scores


def axis(start: float, span: float, width: int, indent: int, reach: float, glyphs: Glyphs) -> Iterator[Text]:
    """Two lines: a ruler with ticks, and the times of the ticks."""
    room = len(clock(reach, reach)) + 3
    step = next((step for step in TICKS if step / span * width >= room), span)
    digits = 1 if step < 1 else 0
    ruler, times = [glyphs.line] * width, [" "] * width
    number = math.ceil(start / step - 1e-9)
    while (time := number * step) < start + span - 1e-9:
        column = max(0, int((time - start) / span * width + 1e-9))
        label = clock(time, reach, digits)
        ruler[column] = glyphs.tick
        if column + len(label) <= width:
            times[column : column + len(label)] = label
        number += 1
    margin, unit = " " * indent, " s" if reach < 60 else ""
    yield Text(margin + "".join(ruler), QUIET, no_wrap=True)
    yield Text(margin + "".join(times).rstrip() + unit, QUIET, no_wrap=True)


def bar(score: float, width: int, glyphs: Glyphs) -> str:
    """A bar of ``score * width`` columns, to an eighth of a column if the glyphs have eighths."""
    whole, eighths = divmod(round(max(0.0, min(1.0, score)) * width * 8), 8)
    return glyphs.full * whole + (glyphs.eighths[eighths - 1] if eighths and glyphs.eighths else "")


def heading(file: str, duration: float, options: ConsoleOptions) -> Text:
    """The name and the length of a recording."""
    name, glyphs = "standard input" if file == "-" else printable(file), Glyphs.of(options)
    text = Text(fit_end(name, min(cell_len(name), max(8, options.max_width - 12)), glyphs), "bold", no_wrap=True)
    long = f"{duration:.1f} s" if duration < 60 else clock(duration, duration)
    return Text.assemble(text, ("  " + long, QUIET), no_wrap=True)


def clock(seconds: float, reach: float, digits: int = 0) -> str:
    """A time as ``7``, ``1:07`` or ``1:01:07``, with the fields that a recording of ``reach`` seconds needs."""
    total = round(seconds, digits)
    if reach < 60:
        return f"{total:.{digits}f}"
    minutes, rest = divmod(total, 60)
    tail = f"{rest:0{digits + 3 if digits else 2}.{digits}f}"
    if reach < 3600:
        return f"{int(minutes)}:{tail}"
    return f"{int(minutes // 60)}:{int(minutes % 60):02}:{tail}"


def printable(name: str) -> str:
    """A file name with control characters and undecodable bytes replaced by ``?``."""
    return "".join(char if char.isprintable() else "?" for char in name)


def fit(text: str, width: int, glyphs: Glyphs) -> str:
    """``text`` padded or cut to exactly ``width`` columns."""
    if cell_len(text) > width > len(glyphs.ellipsis):
        text = set_cell_size(text, width - len(glyphs.ellipsis)) + glyphs.ellipsis
    return set_cell_size(text, width)


def fit_end(name: str, width: int, glyphs: Glyphs) -> str:
    """Like :func:`fit`, but cuts the start of the text: paths differ at their end."""
    if cell_len(name) > width:
        while name and cell_len(name) > width - len(glyphs.ellipsis):
            name = name[1:]
        name = glyphs.ellipsis + name
    return set_cell_size(name, width)
