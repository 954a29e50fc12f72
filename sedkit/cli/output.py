"""Where results go: standard output, or a file that appears under its name only when it is whole.

What happens on disk, and how a run that broke off goes on, is described in :mod:`sedkit.cli.journal`.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

import click

from sedkit.cli.journal import Entry, Fingerprint, Journal
from sedkit.errors import OutputError
from sedkit.formats import FORMATS, Kind, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

NONE = Fingerprint(-1, -1)  # of what comes through a pipe


class Output:
    """Writes results, one after the other, to standard output or to what is no regular file (a named pipe).

    Parameters
    ----------
    stream : where to.
    name : what an error calls it.
    format_name : one of :data:`sedkit.formats.FORMATS`.
    kind, files : what to expect, see :class:`sedkit.formats.Writer`.
    """

    def __init__(self, stream: TextIO, name: str, format_name: str, kind: Kind, files: Sequence[str]) -> None:
        self.stream, self.name = stream, name
        self.format, self.kind, self.files = FORMATS[format_name], kind, files
        self.writer: Writer | None = None
        self.results = 0

    def write(self, result: Tagging | Timeline, read: Fingerprint | None) -> None:
        """Write one result and hand it on at once, for whoever reads along.

        Parameters
        ----------
        read : the recording's fingerprint from before it was read, if it has one.

        Raises
        ------
        OutputError
            If that fails.
        BrokenPipeError
            If nobody reads standard output any more.
        """
        with _told(self.name):
            if self.writer is None:
                self.writer = self.begin()
            self.writer.write(result)
            self.stream.flush()
            self.written(result.file, read)

    def begin(self) -> Writer:
        """What stands before the first result."""
        return self.format(self.stream, self.kind, self.files)

    def written(self, file: str, read: Fingerprint | None) -> None:
        """A result is where it should be."""
        self.results += 1

    def holds(self, file: str, now: Fingerprint | None) -> bool:
        """Whether the results of a recording with this fingerprint are there already."""
        return False

    def complete(self, keep_journal: bool) -> None:
        """All results have been written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.stream is not sys.stdout:
            with suppress(OSError):  # a full disk, which write() has told of
                self.stream.close()


class FileOutput(Output):
    """Writes results to ``NAME.partial``, which takes its name when it is complete.

    If it never is, because the ``with`` block ends through an exception, the results so far stay there. Without a
    single result nothing is left, and what stood under the name before stays.

    Parameters
    ----------
    path : the final name.
    format_name, kind, files : as of :class:`Output`.
    made_with : what the results depend on, see :class:`sedkit.cli.journal.Journal`.
    resume : whether to go on from what an earlier run has done.

    Raises
    ------
    OutputError
        If it cannot be written, if an earlier run broke off and this one is not to go on from there, or if this one
        is to and cannot.
    """

    def __init__(
        self,
        path: Path,
        format_name: str,
        kind: Kind,
        files: Sequence[str],
        made_with: Mapping[str, Any],
        resume: bool,
    ) -> None:
        self.path, self.resume = path, resume
        self.partial = path.with_name(path.name + ".partial")
        self.journal = Journal(path.with_name(path.name + ".journal"), made_with)
        self.held = 0
        self.completed = False
        with _told(str(path)):
            resumed = resume and self.load(files)
            self.file = LockedFile(self.partial)
            if not resumed and self.file.seek(0, os.SEEK_END):
                self.file.close()
                way = "go on with --resume" if self.journal.path.exists() else "move it away"
                raise OutputError(
                    f"{self.partial}: what an interrupted run has done; {way}, or delete it to begin anew"
                )
            self.end = max((entry.end for entry in self.journal.entries.values()), default=0)
            self.file.truncate(self.end)
            self.file.seek(self.end)
            if resumed:
                self.journal.write(self.journal.entries.values())
        errors = FORMATS[format_name].errors
        stream = io.TextIOWrapper(io.BufferedWriter(self.file), "utf-8", errors, newline="\n")
        super().__init__(stream, str(path), format_name, kind, files)

    def load(self, files: Sequence[str]) -> bool:
        """Take up what an earlier run has done; whether there was one."""
        whole = not _size(self.partial)
        store = self.path if whole else self.partial
        if not _size(store):
            return False
        remedy = "leave out --resume" if whole else f"move {self.partial} away"
        remedy += " to begin anew"
        if not self.journal.path.exists():
            raise OutputError(f"{store}: cannot be resumed, {self.journal.path.name} is missing; {remedy}")
        self.journal.load(store, remedy)
        given = set(files)
        gone = [file for file in self.journal.entries if file not in given]
        if left := next((file for file in gone if os.path.exists(file)), None):
            raise OutputError(f"{store}: holds results of {left} and this run leaves it out; give it too, or {remedy}")
        for file in gone:
            del self.journal.entries[file]
        if whole:
            copy = self.path.with_name(self.path.name + ".tmp")
            shutil.copyfile(self.path, copy)
            os.replace(copy, self.partial)
        return True

    def begin(self) -> Writer:
        writer = self.format(self.stream, self.kind, self.files, header=not self.end)
        self.stream.flush()
        self.end, self.file.crc = self.file.tell(), 0
        return writer

    def written(self, file: str, read: Fingerprint | None) -> None:
        entry = Entry(file, *(read or NONE), self.end, self.file.tell() - self.end, self.file.crc)
        if read and self.format.resumable:
            self.journal.add(entry)
        end = entry.end
        if self.resume:
            self.journal.entries[file] = entry
        self.end, self.file.crc, self.results = end, 0, self.results + 1  # no Ctrl-C can come in between

    def holds(self, file: str, now: Fingerprint | None) -> bool:
        entry = self.journal.entries.get(file)
        if entry is None:
            return False
        if now != (entry.size, entry.changed):
            del self.journal.entries[file]
            return False
        self.held += 1
        return True

    def complete(self, keep_journal: bool) -> None:
        """All results have been written: give the file its name.

        Parameters
        ----------
        keep_journal : whether a later run may want to go on from here.
        """
        if not self.results + self.held:
            return
        with _told(self.name):
            self.stream.flush()
            os.fsync(self.file.fileno())
            self.stream.close()
            if self.resume:
                self.put_in_order()
            os.replace(self.partial, self.path)
            self.completed = True
            if not (keep_journal and self.format.resumable):
                self.journal.remove()
            elif self.journal.file is None:
                self.journal.write([])
        if self.held:
            click.echo(f"sedkit: {self.held} of {len(self.files)} recordings were done before", err=True)

    def put_in_order(self) -> None:
        """Bring the results into the order of the recordings, if they are not; leave out what does not count."""
        entries = [self.journal.entries[file] for file in self.files if file in self.journal.entries]
        header = io.StringIO(newline="")
        self.format(header, self.kind, self.files)
        ends = [len(header.getvalue()), *(entry.end for entry in entries)]
        if [*(entry.start for entry in entries), self.end] == ends:
            return
        ordered = self.path.with_name(self.path.name + ".tmp")
        moved = []
        with open(self.partial, "rb") as store, open(ordered, "wb") as file:
            file.write(header.getvalue().encode())
            for entry in entries:
                moved.append(replace(entry, start=file.tell()))
                file.write(entry.results(store) or b"")
            file.flush()
            os.fsync(file.fileno())
        os.replace(ordered, self.partial)
        self.journal.write(entry for entry in moved if entry.size >= 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self.journal.close()
        if self.completed:
            return
        done = len(self.journal.entries) if self.resume else self.results
        if not done:
            self.partial.unlink()
            return
        with suppress(OSError):
            os.truncate(self.partial, self.end)  # half a result
        if error is not None:
            way = "; --resume goes on from there" if self.format.resumable else ""
            click.echo(f"sedkit: {done} of {len(self.files)} results are in {self.partial}{way}", err=True)


class LockedFile(io.FileIO):
    """A file that one process at a time can open, where the system has locks.

    Attributes
    ----------
    crc : CRC-32 of what has been written since it was last set to 0.

    Raises
    ------
    OutputError
        If another process has it open.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        self.crc = 0
        try:
            import fcntl

            fcntl.flock(self, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise OutputError(f"{path}: another run is writing it; wait for it, or choose another --output") from None
        except (ImportError, OSError):
            pass  # no locks here

    def write(self, data: Any) -> int:
        written = super().write(data)
        self.crc = zlib.crc32(memoryview(data)[:written], self.crc)
        return written


def open_output(
    path: str | None,
    format_name: str,
    kind: Kind,
    files: Sequence[str],
    made_with: Callable[[], Mapping[str, Any]],
    resume: bool,
) -> Output:
    """Where results go, opened before the work starts, so that a path that cannot be written shows at once.

    Parameters
    ----------
    path : of a file, or None for standard output.
    format_name, kind, files, made_with, resume : as of :class:`FileOutput`.

    Raises
    ------
    OutputError
        If it cannot be opened.
    """
    errors = FORMATS[format_name].errors
    if path is None:
        return Output(standard_output(errors), "standard output", format_name, kind, files)
    target = Path(path).resolve() if Path(path).is_symlink() else Path(path)
    if target.is_dir():
        raise OutputError(f"{path}: this is a folder; name a file")
    if target.exists() and not os.access(target, os.W_OK):
        raise OutputError(f"{path}: this file is write-protected")
    if target.is_file() or not target.exists():
        return FileOutput(target, format_name, kind, files, made_with(), resume)
    if resume:
        raise OutputError(f"{path}: no regular file, which --resume needs")
    with _told(path):
        stream = open(target, "w", encoding="utf-8", errors=errors, newline="\n")  # noqa: SIM115
    return Output(stream, path, format_name, kind, files)


def standard_output(errors: str) -> TextIO:
    """Standard output as UTF-8 with LF, unless it is a terminal, which knows best."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        if stream.isatty():
            stream.reconfigure(errors=errors)
        else:
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")
    return stream


@contextmanager
def _told(name: str) -> Iterator[None]:
    """An error of the system as a line about what it is that cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except FileNotFoundError:
        folder = Path(name).parent
        raise OutputError(f"{name}: the folder {folder} does not exist; create it first") from None
    except OSError as error:
        raise OutputError(f"{name}: cannot be written: {error.strerror}") from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
