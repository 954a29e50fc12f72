"""Progress of a cascade on standard error: a rich display on a terminal, one plain line an epoch when piped.

Of several processes, rank 0 alone speaks.
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
    """A bar while clips are decoded, on a terminal: what is yielded takes the clips done and their total."""
    console = Console(stderr=True, quiet=distributed.rank() > 0)
    with Progress(console=console, transient=True, disable=console.quiet or not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class CascadeProgress:
    """Call :meth:`generation` when a network begins, then pass each row that ``fit`` reports to :meth:`report`."""

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

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def generation(self, number: int) -> None:
        self._number = number
        self._name = "Teacher-0" if number == 0 else f"Student {number}/{self.generations - 1}"

    def asking(self, teacher: int | str, done: int, clips: int) -> None:
        """A teacher is asked of the clips, and has heard so many of them."""
        line = f"asks {f'T{teacher}' if isinstance(teacher, int) else teacher}  {done} of {clips} clips"
        if self._bar is not None:
            self._bar.update(self._task, description=self._name, status=line)
        else:
            self.say(f"{self._name}  {line}")

    def report(self, row: dict[str, Any]) -> None:
        if "loss" not in row:
            if self._bar is not None:
                done = self._number * self.epochs + row["epoch"] - 1 + row["batch"] / row["batches"]
                self._bar.update(self._task, description=self._name, completed=done)
            return
        score = row.get("validation_mAP")
        left = row["seconds"] * (self.epochs * (self.generations - self._number) - row["epoch"])
        line = (
            f"epoch {row['epoch']}/{self.epochs}  loss {row['loss']:.4f}  "
            f"validation mAP {'-' if score is None else format(score, '.4f')}  {row['clips_per_second']:.1f} clips/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, status=line)
        else:
            self.say(f"{self._name}  {line}  ETA {left / 60:.0f} min")
            sys.stderr.flush()
