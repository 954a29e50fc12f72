"""Output of results: to standard output, or to a file that appears under its name only when it is complete.

The layout on disk, and how an interrupted run resumes, is described in :mod:`sedkit.cli.journal`.
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

from sedkit.cli.journal import Entry, Fingerprint, Journal, sync
from sedkit.cli.lock import Lock
from sedkit.cli.messages import print_notice
from sedkit.errors import OutputError
from sedkit.formats import FORMATS, FormatOptions, Kind, Run, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

NO_FINGERPRINT = Fingerprint(-1, -1)  # of a pipe


class Output:
    """Writes results one by one to standard output, or to a path that is not a regular file (a device, a named pipe).

    Parameters
    ----------
    stream : the open stream to write to.
    name : its name in error messages.
    format_name : one of :data:`sedkit.formats.FORMATS`.
    kind, files, bom : kind of results, all recordings of the run, and whether to write a byte order mark; see
        :class:`sedkit.formats.Writer`.
    """

    def __init__(
        self, stream: TextIO, name: str, format_name: str, kind: Kind, files: Sequence[str], bom: bool = False
    ) -> None:
        self.stream, self.name = stream, name
        self.format, self.kind, self.files, self.bom = FORMATS[format_name], kind, files, bom
        self.writer: Writer | None = None
        self.results = 0

    def write(self, result: Tagging | Timeline, before: Fingerprint | None) -> None:
        """Write one result and flush it.

        Parameters
        ----------
        before : the recording's fingerprint from before it was read, if it has one.

        Raises
        ------
        OutputError
            If writing fails.
        BrokenPipeError
            If the reader of standard output has gone.
        """
        with write_errors(self.name):
            if self.writer is None:
                self.writer = self.open_writer()
            self.writer.write(result)
            self.stream.flush()
            self.on_written(result.file, before)

    def open_writer(self) -> Writer:
        """The writer, which writes the header if the format has one."""
        return self.format(self.stream, Run(self.kind, self.files, options=FormatOptions(bom=self.bom)))

    def on_written(self, file: str, before: Fingerprint | None) -> None:
        """Called after a result has been written and flushed."""
        self.results += 1

    def holds(self, file: str, now: Fingerprint | None) -> bool:
        """Whether an earlier run has written the results of a recording with this fingerprint."""
        return False

    def complete(self, keep_journal: bool) -> None:
        """Called after all results have been written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.stream is not sys.stdout:
            with suppress(OSError):  # a full disk, which write() has reported
                self.stream.close()


class FileOutput(Output):
    """Writes results to ``NAME.partial``, which is renamed to ``NAME`` when it is complete.

    If an exception ends the ``with`` block, the results so far stay in ``NAME.partial``. If there are none, it is
    deleted. In both cases an older ``NAME`` is left unchanged.

    Parameters
    ----------
    path : ``NAME``.
    format_name, kind, files, bom : see :class:`Output`.
    settings : everything that determines the results, see :class:`sedkit.cli.journal.Journal`.
    resume : whether to continue from the results of an earlier run.

    Raises
    ------
    OutputError
        If the file cannot be written; if there are results of an interrupted run and ``resume`` is false; or if
        ``resume`` is true and the earlier results cannot be continued.
    """

    def __init__(
        self,
        path: Path,
        format_name: str,
        kind: Kind,
        files: Sequence[str],
        settings: Mapping[str, Any],
        resume: bool,
        bom: bool = False,
    ) -> None:
        self.path, self.resume = path, resume
        self.partial = path.with_name(path.name + ".partial")
        self.journal = Journal(path.with_name(path.name + ".journal"), settings)
        self.reused = 0  # recordings whose results an earlier run has written
        self.completed = False
        with write_errors(str(path)):
            self.lock = Lock(path.with_name(path.name + ".lock"), path)
            try:
                self.file = self.open_partial(files)
            except BaseException:
                self.lock.release()
                raise
        errors = FORMATS[format_name].errors
        stream = io.TextIOWrapper(io.BufferedWriter(self.file), "utf-8", errors, newline="\n")
        super().__init__(stream, str(path), format_name, kind, files, bom)

    def open_partial(self, files: Sequence[str]) -> PartialFile:
        """Open ``NAME.partial`` at the end of the results of an earlier run, if it is resumed, or empty."""
        resumed = self.resume and self.load(files)
        if not resumed and _size(self.partial):
            remedy = "continue with --resume" if self.journal.path.exists() else "move it away"
            raise OutputError(
                f"{self.partial}: holds results of an interrupted run; {remedy}, or delete it to start over"
            )
        self.end = max((entry.end for entry in self.journal.entries.values()), default=0)
        file = PartialFile(os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666), "r+")
        try:
            file.truncate(self.end)
            file.seek(self.end)
            if resumed:
                self.journal.write(self.journal.entries.values())
        except BaseException:
            file.close()
            raise
        return file

    def load(self, files: Sequence[str]) -> bool:
        """Load the journal and the results of an earlier run; returns whether there are any."""
        was_complete = not _size(self.partial)
        results = self.path if was_complete else self.partial
        if not _size(results):
            return False
        remedy = "leave out --resume" if was_complete else f"move {self.partial} away"
        remedy += " to start over"
        if not self.journal.path.exists():
            raise OutputError(f"{results}: cannot be resumed, {self.journal.path.name} is missing; {remedy}")
        self.journal.load(results, remedy)
        given = set(files)
        dropped = [file for file in self.journal.entries if file not in given]
        if existing := next((file for file in dropped if os.path.exists(file)), None):
            raise OutputError(f"{results}: holds results of {existing}, which is not given now; give it, or {remedy}")
        for file in dropped:
            del self.journal.entries[file]
        if was_complete:
            copy = self.path.with_name(self.path.name + ".tmp")
            with open(self.path, "rb") as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target)
                sync(target)
            os.replace(copy, self.partial)
        return True

    def open_writer(self) -> Writer:
        writer = super().open_writer()
        self.stream.flush()
        self.end, self.file.crc = self.file.tell(), 0
        return writer

    def on_written(self, file: str, before: Fingerprint | None) -> None:
        entry = Entry(file, *(before or NO_FINGERPRINT), self.end, self.file.tell() - self.end, self.file.crc)
        if before and True:
            self.journal.add(entry)
        end = entry.end
        if self.resume:
            self.journal.entries[file] = entry
        self.end, self.file.crc, self.results = end, 0, self.results + 1  # one statement: Ctrl-C cannot separate them

    def holds(self, file: str, now: Fingerprint | None) -> bool:
        entry = self.journal.entries.get(file)
        if entry is None:
            return False
        if now != (entry.size, entry.changed):
            del self.journal.entries[file]
            return False
        self.reused += 1
        return True

    def complete(self, keep_journal: bool) -> None:
        """Sort the results if necessary, and rename ``NAME.partial`` to ``NAME``.

        Parameters
        ----------
        keep_journal : whether a later run may resume from these results.
        """
        if not self.results + self.reused:
            return
        with write_errors(self.name):
            self.stream.flush()
            sync(self.file)
            self.stream.close()
            if self.resume:
                self.sort()
            os.replace(self.partial, self.path)
            self.completed = True
            if not (keep_journal and True):
                self.journal.remove()
            elif self.journal.file is None:
                self.journal.write([])
        if self.reused:
            print_notice(f"{self.reused} of {len(self.files)} recordings were already done")

    def sort(self) -> None:
        """Sort the results into the order of the recordings, unless they are; drop results that no entry describes."""
        entries = [self.journal.entries[file] for file in self.files if file in self.journal.entries]
        text = io.StringIO(newline="")
        self.format(text, Run(self.kind, self.files, options=FormatOptions(bom=self.bom)))
        header = text.getvalue().encode()
        ends = [len(header), *(entry.end for entry in entries)]
        if [*(entry.start for entry in entries), self.end] == ends:
            return
        sorted_results = self.path.with_name(self.path.name + ".tmp")
        moved = []
        with open(self.partial, "rb") as source, open(sorted_results, "wb") as target:
            target.write(header)
            for entry in entries:
                moved.append(replace(entry, start=target.tell()))
                target.write(entry.results(source) or b"")
            sync(target)
        os.replace(sorted_results, self.partial)
        self.journal.write(entry for entry in moved if entry.size >= 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        self.journal.close()
        try:
            if not self.completed:
                self.keep_partial(interrupted=error is not None)
        finally:
            self.lock.release()

    def keep_partial(self, interrupted: bool) -> None:
        """Leave complete results in ``NAME.partial``; delete it if there are none."""
        done = len(self.journal.entries) if self.resume else self.results
        if not done:
            self.partial.unlink()
            return
        with suppress(OSError):
            os.truncate(self.partial, self.end)  # cut off an incomplete result
        if interrupted:
            hint = "; --resume continues from there" if True else ""
            print_notice(f"{done} of {len(self.files)} results are in {self.partial}{hint}")


class PartialFile(io.FileIO):
    """A file with a checksum of what is written to it.

    Attributes
    ----------
    crc : CRC-32 of the bytes written since it was last set to 0.
    """

    crc = 0

    def write(self, data: Any) -> int:
        written = super().write(data)
        self.crc = zlib.crc32(memoryview(data)[:written], self.crc)
        return written


def open_output(
    path: str | None,
    format_name: str,
    kind: Kind,
    files: Sequence[str],
    settings: Callable[[], Mapping[str, Any]],
    resume: bool,
    bom: bool = False,
) -> Output:
    """Open the output. This happens before the analysis, so that a path that cannot be written fails early.

    Parameters
    ----------
    path : of a file; None is standard output.
    settings : returns the settings for :class:`FileOutput`; called only for a regular file.
    format_name, kind, files, resume, bom : see :class:`FileOutput`.

    Raises
    ------
    OutputError
        If the output cannot be opened.
    """
    errors = FORMATS[format_name].errors
    if path is None:
        return Output(standard_output(errors), "standard output", format_name, kind, files, bom)
    target = Path(path).resolve() if Path(path).is_symlink() else Path(path)
    if target.exists() and not os.access(target, os.W_OK):
        raise OutputError(f"{path}: is write-protected; change its permissions, or choose another --output")
    if target.is_file() or not target.exists():
        return FileOutput(target, format_name, kind, files, settings(), resume, bom)
    if resume:
        raise OutputError(f"{path}: is not a regular file, which --resume needs; choose another --output")
    with write_errors(path):
        stream = open(target, "w", encoding="utf-8", errors=errors, newline="\n")  # noqa: SIM115
    return Output(stream, path, format_name, kind, files, bom)


def refuse_folder(path: str) -> None:
    """Refuse an ``--output`` that is a folder, or ends like one.

    Raises
    ------
    OutputError
        If it does.
    """
    if os.path.isdir(path) or not os.path.basename(path):
        raise OutputError(f"{path}: is a folder; name a file in it, such as {os.path.join(path, 'results.csv')}")


def standard_output(errors: str) -> TextIO:
    """Standard output, set to UTF-8 and LF unless it is a terminal; a terminal keeps its own encoding.

    Raises
    ------
    OutputError
        If it was closed when the process started.
    """
    stream = sys.stdout
    stream.write("")
    if isinstance(stream, io.TextIOWrapper):
        if stream.isatty():
            stream.reconfigure(errors=errors)
        else:
            stream.reconfigure(encoding="utf-8", errors=errors, newline="\n")
    return stream


@contextmanager
def write_errors(name: str) -> Iterator[None]:
    """Turn an OSError into an :class:`OutputError` that says what cannot be written; let BrokenPipeError pass."""
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
