"""Output of results to standard output and devices as they come; files that replace another only when complete."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TextIO

from sedkit.cli.streams import mute_stdout
from sedkit.errors import OutputError
from sedkit.formats.writers import Run, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

STDOUT = "standard output"


class Stream:
    """Writes results one by one to standard output, or to a path that is not a regular file (a device, a named pipe).

    Parameters
    ----------
    writer : of the format.
    run : what the output is for; its path is None for standard output.

    Raises
    ------
    OutputError
        If the path cannot be opened, or standard output is closed.
    """

    def __init__(self, writer: type[Writer], run: Run) -> None:
        self.writer_type, self.run = writer, run
        self.name = STDOUT if run.path is None else str(run.path)
        self.writer: Writer | None = None
        with write_errors(self.name):
            opened = standard_output(writer.errors, writer.binary) if run.path is None else open_for(writer, run.path)
            self.stream = opened

    def begin(self) -> None:
        """Write what comes before the first result, such as a header, if that is not written yet.

        Raises
        ------
        OutputError, BrokenPipeError
            As :meth:`write`.
        """
        with write_errors(self.name):
            if self.writer is None:
                self.writer = self.writer_type(self.stream, self.run)
                self.stream.flush()

    def write(self, result: Tagging | Timeline) -> None:
        """Write one result and flush it. The header, if there is one, comes with the first.

        Raises
        ------
        OutputError
            If writing fails.
        BrokenPipeError
            If the reader of standard output has gone.
        """
        self.begin()
        assert self.writer is not None
        with write_errors(self.name):
            self.writer.write(result)
            self.stream.flush()

    def finish(self) -> None:
        """Write what comes after the last result."""
        with write_errors(self.name):
            if self.writer is not None:
                self.writer.finish()
                self.stream.flush()

    def close(self) -> None:
        """Close the stream, unless it is standard output."""
        if self.run.path is not None:
            with suppress(OSError):  # a full disk, which write() has reported
                self.stream.close()


class AtomicFile:
    """A new file, which replaces the one of its name when it is complete; a context manager.

    Until then, it is ``NAME.tmp``, which is deleted if :meth:`commit` was not called.

    Parameters
    ----------
    writer : of the format.
    run : what the file is for; its path is that of the file.
    """

    def __init__(self, writer: type[Writer], run: Run) -> None:
        assert run.path is not None
        self.path, self.temporary = run.path, run.path.with_name(run.path.name + ".tmp")
        self.name = str(run.path)
        with write_errors(self.name):
            self.stream = open_for(writer, self.temporary)
        try:
            with write_errors(self.name):
                self.writer = writer(self.stream, run)
        except BaseException:
            self.__exit__()
            raise

    def write(self, result: Tagging | Timeline) -> None:
        """Write one result."""
        with write_errors(self.name):
            self.writer.write(result)

    def fail(self, file: str, error: str) -> None:
        """Write that a recording has no result."""
        with write_errors(self.name):
            self.writer.fail(file, error)

    def commit(self, sync: bool = True) -> None:
        """End the file and give it its name.

        Parameters
        ----------
        sync : whether to wait until the file is on the disk, so that a power loss leaves the old file or the new one.
        """
        with write_errors(self.name):
            self.writer.finish()
            self.stream.flush()
            if sync:
                os.fsync(self.stream.fileno())
            self.stream.close()
            os.replace(self.temporary, self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self.stream.close()
        self.temporary.unlink(missing_ok=True)


def open_for(writer: type[Writer], path: Path) -> IO[Any]:
    """Open a file for a writer, empty."""
    if writer.binary:
        return open(path, "wb")
    return open(path, "w", encoding="utf-8", errors=writer.errors, newline="\n")


def standard_output(errors: str, binary: bool = False) -> IO[Any]:
    """Standard output, set to UTF-8 and LF unless it is a terminal; a terminal keeps its own encoding.

    Raises
    ------
    OutputError
        If it was closed when the process started.
    """
    stream: TextIO = sys.stdout
    stream.write("")
    if binary:
        return stream.buffer
    if isinstance(stream, io.TextIOWrapper):
        if stream.isatty():
            stream.reconfigure(errors=errors)
        else:
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")
    return stream


@contextmanager
def write_errors(name: str) -> Iterator[None]:
    """Turn an OSError into an :class:`OutputError` that says what cannot be written; let BrokenPipeError pass.

    What is left of the results for standard output is dropped, so that it does not fail again at the exit.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except FileNotFoundError:
        folder = Path(name).parent
        if folder.is_dir():  # such as /proc
            raise OutputError(f"{name}: no file can be created in {folder}; choose another folder") from None
        raise OutputError(f"{name}: the folder {folder} does not exist; create it first") from None
    except OSError as error:
        if name == STDOUT:
            mute_stdout()
        raise OutputError(f"{name}: cannot be written: {error.strerror}") from None
