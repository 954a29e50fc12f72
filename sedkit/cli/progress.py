"""How far a run is, on standard error while that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import rich.progress


class Progress:
    """A bar over ``total`` recordings, or a spinner for one; nothing if standard error is no terminal."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.bar: rich.progress.Progress | None = None
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console
            from rich.table import Column

            one_line = Column(no_wrap=True, overflow="ellipsis")
            name = progress.TextColumn("{task.description}", markup=False, table_column=one_line)
            several = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
            times = several if total > 1 else (progress.TimeElapsedColumn(),)
            columns = (progress.SpinnerColumn(), *times, name)
            self.bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task("", total=total)

    def begin(self, name: str) -> None:
        """Say which recording is under way."""
        if self.bar:
            from sedkit.draw import printable

            self.bar.update(self.task, description=printable(name))

    def done(self) -> None:
        """One recording more is done."""
        if self.bar:
            self.bar.advance(self.task)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Out of the way while results are written to the terminal that shows the bar."""
        if self.bar and sys.stdout.isatty():
            self.bar.stop()
            yield
            self.bar.start()
        else:
            yield

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()
