"""Where results go: standard output, or a file that appears under its name only when it is whole."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import click

from sedkit.errors import OutputError
from sedkit.formats import FORMATS, Kind, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline


class Output:
    """Writes results; opened before the work starts, so that a path that cannot be written shows at once.

    A file is written as ``NAME.partial`` beside its final name. Leaving the ``with`` block moves it there; if that
    happens through an exception the results so far are kept as ``NAME.partial``. Without a single result, nothing is
    left and what stood under the name before stays. What is no regular file (``/dev/null``, a named pipe) is
    written directly.

    Parameters
    ----------
    path : the final name, or None for standard output.
    format_name : one of :data:`sedkit.formats.FORMATS`.
    kind, files : what to expect, see :class:`sedkit.formats.Writer`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: str | None, format_name: str, kind: Kind, files: Sequence[str]) -> None:
        self.path = path
        self.results, self.expected = 0, len(files)
        self.make_writer = partial(FORMATS[format_name], kind=kind, files=files)
        self.writer: Writer | None = None
        errors = FORMATS[format_name].errors
        self.target = Path(path).resolve() if path is not None else None
        self.partial: Path | None = None
        if self.target is None:
            self.stream = standard_output(errors)
            return
        if self.target.is_dir():
            raise OutputError(f"{path}: this is a folder; name a file")
        if self.target.exists() and not os.access(self.target, os.W_OK):
            raise OutputError(f"{path}: this file is write-protected")
        if self.target.is_file() or not self.target.exists():
            self.partial = self.target.with_name(self.target.name + ".partial")
        try:
            self.stream = open(self.partial or self.target, "w", encoding="utf-8", errors=errors, newline="\n")  # noqa: SIM115
        except FileNotFoundError:
            raise OutputError(f"{path}: the folder {self.target.parent} does not exist; create it first") from None
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror}") from None

    def write(self, result: Tagging | Timeline) -> None:
        """Write one result and hand it on at once, for whoever reads along.

        Raises
        ------
        OutputError
            If that fails.
        BrokenPipeError
            If nobody reads standard output any more.
        """
        try:
            self.writer = self.writer or self.make_writer(self.stream)
            self.writer.write(result)
            self.stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"{self.path or 'standard output'}: cannot be written: {error.strerror}") from None
        self.results += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.target is None:
            return
        with suppress(OSError):  # a full disk, which write() has told of
            self.stream.close()
        if self.partial is None:
            return
        if self.results == 0:
            self.partial.unlink()
        elif error is None:
            os.replace(self.partial, self.target)
        else:
            click.echo(f"sedkit: {self.results} of {self.expected} results are in {self.path}.partial", err=True)


def standard_output(errors: str) -> TextIO:
    """Standard output as UTF-8 with LF, unless it is a terminal, which knows best."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        if stream.isatty():
            stream.reconfigure(errors=errors)
        else:
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")
    return stream
