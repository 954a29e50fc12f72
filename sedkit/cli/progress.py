"""Progress bar on standard error, shown only if that is a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import rich.progress
    from numpy.typing import NDArray

    from sedkit.timeline.views import View

Result = TypeVar("Result")


class Progress:
    """A bar that counts finished recordings or, for a single recording, seconds; with the rate and the time remaining.

    Does nothing if standard error is not a terminal.

    Parameters
    ----------
    names : of the recordings.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.bar: rich.progress.Progress | None = None
        self.single = len(names) == 1
        self.seconds = 0.0  # of sound analysed
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console
            from rich.table import Column

            name_column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            name = progress.TextColumn("{task.description}", markup=False, table_column=name_column)
            position = progress.TextColumn("{task.fields[clock]}") if self.single else progress.MofNCompleteColumn()
            rate = progress.TextColumn("{task.fields[rate]}")
            columns = (progress.SpinnerColumn(), progress.BarColumn(20), position, rate, progress.TimeRemainingColumn())
            self.bar = progress.Progress(*columns, name, console=Console(stderr=True), transient=True, expand=True)
            total = duration(names[0]) if self.single else len(names)
            self.task = self.bar.add_task("", total=total, clock="", rate="")
            self.started = time.monotonic()

    def start_recording(self, name: str) -> None:
        """Show the name of the recording that starts."""
        if self.bar:
            from sedkit.formats.terminal import printable

            self.bar.update(self.task, description=printable(os.path.basename(name)))

    def skip(self) -> None:
        """Count one recording less: its results exist already."""
        if self.bar and not self.single:
            self.bar.update(self.task, total=(self.bar.tasks[0].total or 1) - 1)

    def advance(self, seconds: float) -> None:
        """Count more analysed sound."""
        if self.bar:
            from sedkit.formats.terminal import clock

            self.seconds += seconds
            rate = self.seconds / max(1e-3, time.monotonic() - self.started)
            self.bar.update(
                self.task,
                advance=seconds if self.single else 0,
                clock=clock(self.seconds, max(60, self.seconds)),
                rate=f"{rate:,.0f} x real time",
            )

    def finish_recording(self) -> None:
        """Count one more finished recording."""
        if self.bar and not self.single:
            self.bar.advance(self.task)

    def watch(self, make_view: Callable[[], View[Result]], step: float) -> Callable[[], View[Result]]:
        """Wrap a view factory, so that its views advance the bar by `step` seconds for each segment."""
        return (lambda: WatchedView(make_view(), self.advance, step)) if self.bar else make_view

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the bar while results are written, if standard output is a terminal too."""
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


class WatchedView(Generic[Result]):
    """A view that reports how much sound it has received.

    Parameters
    ----------
    view : receives everything.
    advance : called with the seconds of each piece.
    step : seconds from one segment to the next.
    """

    def __init__(self, view: View[Result], advance: Callable[[float], None], step: float) -> None:
        self.view, self.advance, self.step = view, advance, step
        self.seconds = 0.0

    def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
        self.view.add(samples, kept, scores)
        seconds = len(scores) * self.step
        self.seconds += seconds
        self.advance(seconds)

    def finish(self, file: str, duration: float) -> Result:
        self.advance(duration - self.seconds)
        return self.view.finish(file, duration)


def duration(name: str) -> float | None:
    """Seconds of a recording, if its header says so. Anything but a file is not read: a pipe can be read only once."""
    if not os.path.isfile(name):
        return None
    from sedkit.audio.probing import probe

    try:
        return probe(name, count=False).duration
    except Exception:  # whatever it is, the analysis reports it
        return None
