"""A timeline that scrolls while the recording plays (a rich renderable, like those of sedkit.formats.terminal)."""

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
from sedkit.results import Event, Onset, Second

MAX_EVENTS = 6  # the latest, listed below the lanes
OTHER_LINES = 6  # lines that are neither lanes nor events


class ScrollingLanes:
    """The latest cells of a recording, as one lane per class, and its latest events.

    Parameters
    ----------
    name : name of the source.

    Attributes
    ----------
    notice : a line shown below the timeline, if not empty.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.reach = 0.0  # seconds; end of the latest cell or event
        self.notice = ""
        self.cells = deque[Second](maxlen=LANE_WIDTHS[1])
        self.events = deque[Event | Onset](maxlen=MAX_EVENTS)
        self.colours: dict[str, str] = {}  # by class, in order of first appearance

    def add(self, item: Second | Event | Onset) -> None:
        """Add the next cell, an event, or the onset of one, whose place the event takes later."""
        names = [tag.label for tag in item.tags] if isinstance(item, Second) else [item.label]
        for name in names:
            self.colours.setdefault(name, PALETTE[len(self.colours) % len(PALETTE)])
        if isinstance(item, Event):
            places = (k for k, each in enumerate(self.events) if (each.label, each.onset) == (item.label, item.onset))
            if (place := next(places, None)) is None:
                self.events.append(item)
            else:
                self.events[place] = item
            self.reach = max(self.reach, item.offset)
        elif isinstance(item, Onset):
            self.events.append(item)
            self.reach = max(self.reach, item.onset)
        else:
            self.cells.append(item)
            self.reach = max(self.reach, item.end)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        glyphs = Glyphs.of(options)
        yield heading(self.name, self.reach, options)
        colours = self._visible_classes(max(1, console.height - OTHER_LINES - len(self.events)))
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

    def _visible_classes(self, limit: int) -> dict[str, str]:
        """Colours of the classes in view: the `limit` most recent ones, in order of first appearance."""
        latest = dict.fromkeys(tag.label for cell in reversed(self.cells) for tag in cell.tags)
        chosen = set(list(latest)[:limit])
        return {name: colour for name, colour in self.colours.items() if name in chosen}
