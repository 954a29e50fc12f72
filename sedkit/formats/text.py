"""For a person to read: drawn with rich, coloured where the stream is a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sedkit.formats.writer import Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline


class TextWriter(Writer):
    """A bar chart for one tagged recording, a line each for several; lanes and a list of events for a timeline."""

    errors = "replace"
    resumable = False

    def begin(self, header: bool) -> None:
        from rich.cells import cell_len
        from rich.console import Console

        from sedkit.formats.terminal import printable

        class Plain(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # left to the caller, as every other format does

        self.console = Plain(file=self.stream, highlight=False, soft_wrap=False)
        self.started = False
        self.widest = [max(self.files, key=lambda name: cell_len(printable(name)))] if self.files else []

    def write(self, result: Tagging | Timeline) -> None:
        from sedkit.formats import terminal as draw

        if self.kind == "events":
            if self.started:
                self.console.print()
            self.console.print(draw.Lanes(cast("Timeline", result)))
        elif len(self.files) > 1:
            self.console.print(draw.TagLine(cast("Tagging", result), self.widest))
        else:
            self.console.print(draw.TagBars(cast("Tagging", result)))
        self.started = True
