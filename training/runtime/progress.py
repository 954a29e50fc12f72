"""Progress of a cascade on standard error: a progress bar on a terminal, otherwise one plain line per epoch.

Of several processes, only rank 0 prints.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.runtime import distributed


@contextmanager
def decoding() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while clips are decoded; yields a callback ``(clips done, clips in total)``."""
    console = Console(stderr=True, quiet=distributed.rank() > 0)
    with Progress(console=console, transient=True, disable=console.quiet or not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class CascadeProgress:
    """Progress over ``generations`` networks of ``epochs`` each.

    Call :meth:`generation` before each network, then pass each row that ``fit`` reports to :meth:`report`.
    """

    def __init__(self, generations: int, epochs: int) -> None:
        self.generations, self.epochs = generations, epochs
        self.console = Console(stderr=True, quiet=distributed.rank() > 0)
        self._name = ""
        self._bar: Progress | None = None
        if self.console.is_terminal and not self.console.quiet:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[status]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task("", total=generations * epochs, status="")

    def __enter__(self) -> CascadeProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def print(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def generation(self, number: int) -> None:
        """Start generation ``number``; 0 is Teacher-0."""
        self._number = number
        self._name = "Teacher-0" if number == 0 else f"Student {number}/{self.generations - 1}"

    def scoring(self, teacher: int | str, done: int, clips: int) -> None:
        """Show that ``teacher``, a generation or an external one, has scored ``done`` of ``clips`` training clips."""
        name = f"T{teacher}" if isinstance(teacher, int) else teacher
        status = f"scoring with {name}  {done} of {clips} clips"
        if self._bar is not None:
            self._bar.update(self._task, description=self._name, status=status)
        else:
            self.print(f"{self._name}  {status}")

    def report(self, row: dict[str, Any]) -> None:
        """Show a row of ``fit``: the position within an epoch, or the metrics of a finished epoch."""
        if "loss" not in row:
            if self._bar is not None:
                epochs = self._number * self.epochs + row["epoch"] - 1 + row["batch"] / row["batches"]
                self._bar.update(self._task, description=self._name, completed=epochs)
            return
        score = row.get("validation_mAP")
        status = (
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f}  "
            f"validation mAP {'-' if score is None else format(score, '.4f')}  {row['clips_per_second']:.1f} clips/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, status=status)
        else:
            left = row["seconds"] * (self.epochs * (self.generations - self._number) - row["epoch"])
            self.print(f"{self._name}  {status}  ETA {left / 60:.0f} min")
            sys.stderr.flush()
