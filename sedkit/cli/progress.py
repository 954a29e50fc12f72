"""How far a run is, on standard error while that is a terminal."""

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
    """A bar: of the recordings that are done or, for a single one, of its seconds; the rate, and the time it will take.

    Nothing if standard error is no terminal.

    Parameters
    ----------
    names : of the recordings.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.bar: rich.progress.Progress | None = None
        self.single = len(names) == 1
        self.seconds = 0.0  # of sound heard
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console
            from rich.table import Column

            rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
            name = progress.TextColumn("{task.description}", markup=False, table_column=rest)
            far = progress.TextColumn("{task.fields[clock]}") if self.single else progress.MofNCompleteColumn()
            rate = progress.TextColumn("{task.fields[rate]}")
            columns = (progress.SpinnerColumn(), progress.BarColumn(20), far, rate, progress.TimeRemainingColumn())
            self.bar = progress.Progress(*columns, name, console=Console(stderr=True), transient=True, expand=True)
            total = duration(names[0]) if self.single else len(names)
            self.task = self.bar.add_task("", total=total, clock="", rate="")
            self.started = time.monotonic()

    def begin(self, name: str) -> None:
        """Say which recording is under way."""
        if self.bar:
            from sedkit.formats.terminal import printable

            self.bar.update(self.task, description=printable(os.path.basename(name)))

    def skip(self) -> None:
        """One recording less is to be done."""
        if self.bar and not self.single:
            self.bar.update(self.task, total=(self.bar.tasks[0].total or 1) - 1)

    def heard(self, seconds: float) -> None:
        """So much more has been analysed."""
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

    def done(self) -> None:
        """One recording more is done."""
        if self.bar and not self.single:
            self.bar.advance(self.task)

    def watched(self, view: Callable[[], View[Result]]) -> Callable[[], View[Result]]:
        """The same views, with an eye on how far they are."""
        return (lambda: Watched(view(), self.heard)) if self.bar else view

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


class Watched(Generic[Result]):
    """A view that says how much sound it has heard."""

    def __init__(self, view: View[Result], heard: Callable[[float], None]) -> None:
        self.view, self.heard = view, heard
        self.seconds = 0.0

    def listen(self, samples: NDArray[np.float32], kept: slice) -> None:
        self.view.listen(samples, kept)

    def add(self, scores: NDArray[np.float32]) -> None:
        from sedkit.geometry import SAMPLE_RATE, SEGMENT_HOP

        self.view.add(scores)
        seconds = len(scores) * SEGMENT_HOP / SAMPLE_RATE
        self.seconds += seconds
        self.heard(seconds)

    def finish(self, file: str, duration: float) -> Result:
        self.heard(duration - self.seconds)
        return self.view.finish(file, duration)


def duration(name: str) -> float | None:
    """Seconds of a recording, if it tells."""
    from sedkit.audio.reading import probe
    from sedkit.errors import AudioError

    try:
        return probe(name).duration
    except AudioError:
        return None
