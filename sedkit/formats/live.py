"""A timeline that rolls by while it is heard (a rich renderable, like those of sedkit.formats.terminal)."""

from __future__ import annotations

from collections import deque

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from sedkit.formats.terminal import (
    LABEL_WIDTH,
    LANE_WIDTHS,
    PALETTE,
    QUIET,
    Glyphs,
    axis,
    event_lines,
    heading,
    lanes,
)
from sedkit.results import Event, Second

MOST_EVENTS = 6  # the latest, under the lanes
AROUND = 6  # lines that are neither lanes nor events


class Rolling:
    """The latest cells of a recording that is still playing, a lane a class, and its latest events.

    Parameters
    ----------
    name : of the source.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reach = 0.0  # seconds, up to where anything is known
        self.notice = ""  # for the person who watches
        self.cells = deque[Second](maxlen=LANE_WIDTHS[1])
        self.events = deque[Event](maxlen=MOST_EVENTS)
        self.colours: dict[str, str] = {}  # in the order in which classes appeared

    def add(self, found: Second | Event) -> None:
        """The next cell, or an event that has ended."""
        names = [found.label] if isinstance(found, Event) else [tag.label for tag in found.tags]
        for name in names:
            self.colours.setdefault(name, PALETTE[len(self.colours) % len(PALETTE)])
        if isinstance(found, Event):
            self.events.append(found)
            self.reach = max(self.reach, found.offset)
        else:
            self.cells.append(found)
            self.reach = max(self.reach, found.end)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = Glyphs.of(options)
        yield heading(self.name, self.reach, options)
        colours = self._present(max(1, console.height - AROUND - len(self.events)))
        if self.cells:
            label_width = min(LABEL_WIDTH, options.max_width // 3, max(map(cell_len, colours), default=0))
            least, most = LANE_WIDTHS
            width = max(least, min(most, options.max_width - label_width - 4))
            shown = list(self.cells)[-width:]
            yield from lanes(
                [{tag.label: tag.score for tag in cell.tags} for cell in shown], colours, label_width, glyphs
            )
            if not colours:
                yield Text("  no class reaches its threshold", QUIET)
            span = (shown[0].end - shown[0].start) * width
            yield from axis(shown[0].start, span, width, label_width + 2, self.reach, glyphs)
        yield from event_lines(self.events, self.reach, self.colours, options.max_width, glyphs)
        if self.notice:
            yield Text("  " + self.notice, "yellow", no_wrap=True, overflow="ellipsis")

    def _present(self, most: int) -> dict[str, str]:
        """The classes in view and their colours: the `most` that were heard last, in the order of their appearance."""
        latest = dict.fromkeys(tag.label for cell in reversed(self.cells) for tag in cell.tags)
        chosen = set(list(latest)[:most])
        return {name: colour for name, colour in self.colours.items() if name in chosen}
