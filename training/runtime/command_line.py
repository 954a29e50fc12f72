"""What the commands share: errors and Ctrl-C on one line, outputs that must not replace inputs, durations."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from sedkit.errors import SedkitError


class Commands(click.Group):
    """A group of commands that prints a ``SedkitError`` as one line and exits with 1, and with 130 if interrupted."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SedkitError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            interrupted = True
        except ImportError as error:
            interrupted = isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)  # in a compiled module
            if not interrupted:
                raise
        click.echo("interrupted", err=True)
        raise click.exceptions.Exit(130)


def import_command(module: str, name: str) -> click.Command:
    """The command ``name`` in a module that is imported now; Ctrl-C waits until it is."""
    with _held_interruption():
        command: click.Command = getattr(import_module(module), name)
    return command


@contextmanager
def _held_interruption() -> Iterator[None]:
    """Raise the KeyboardInterrupt of the block at its end: within the import of a compiled module it can abort."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    held: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if held:
        raise KeyboardInterrupt


def refuse_to_replace(output: Path, *read: Path | None) -> None:
    """Raise :class:`click.UsageError` if ``output`` is one of the files that the command reads."""
    if any(path is not None and path.resolve() == output.resolve() for path in read):
        raise click.UsageError(f"{output} is read, and would be replaced; choose another --output")


class Duration(click.ParamType[float]):
    """``540s``, ``9m``, ``2h`` or a number of seconds; a float of seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return float(value)
        factor = {"s": 1, "m": 60, "h": 3600}.get(value[-1:], 0)
        try:
            return float(value[:-1]) * factor if factor else float(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 540s, 9m or 2h", param, ctx)


DURATION = Duration()
