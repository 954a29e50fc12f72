"""Files that are rendered from the journal when all results are there.

For each output ``NAME`` (in a folder: ``sedkit``), ``NAME.lock`` is locked from before the journal is read until after
the last file is in its place, so only one run at a time reads and writes them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sedkit.cli.journal import Fingerprint, Journal, sync_folder
from sedkit.cli.lock import Lock
from sedkit.cli.messages import print_notice
from sedkit.cli.output import AtomicFile, write_errors
from sedkit.cli.targets import JOURNAL, LOCK
from sedkit.errors import OutputError
from sedkit.formats.writers import Run, Writer

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline

CAN_SYNC_ALL = hasattr(os, "sync")  # waiting once for the disk is faster than once for each of 100,000 files


@dataclass(frozen=True)
class Sheet:
    """A file to render: the writer of its format, and the run as that writer sees it; ``run.path`` is the file's."""

    writer: type[Writer]
    run: Run

    @property
    def path(self) -> Path:
        assert self.run.path is not None
        return self.run.path

    @property
    def alone(self) -> bool:
        """Whether it holds one recording only."""
        return self.run.kind in self.writer.single

    def open(self) -> AtomicFile:
        return AtomicFile(self.writer, self.run)


class Rendered:
    """The files of one run and their journal; a context manager.

    If an exception ends the ``with`` block, the journal keeps the results so far; without any, it is deleted. In both
    cases older files are left unchanged.

    Parameters
    ----------
    outputs : for locks and messages: files, and ``sedkit`` in folders. The journal lies beside the first one.
    settings : everything that determines the results, see :class:`sedkit.cli.journal.Journal`.
    files : all recordings of the run.
    resume : whether to continue from the results of an earlier run.

    Raises
    ------
    OutputError
        If an output cannot be written; if there are results of an interrupted run and `resume` is false; or if
        `resume` is true and the earlier results cannot be continued.
    """

    def __init__(
        self, outputs: Sequence[Path], settings: Mapping[str, object], files: Sequence[str], resume: bool
    ) -> None:
        self.output, self.files = outputs[0], files
        self.journal = Journal(self.output.with_name(self.output.name + JOURNAL), settings)
        self.reused = 0  # recordings whose results are those of an earlier run
        self.complete = False
        self.locks: list[Lock] = []
        with ExitStack() as stack:
            for output in sorted(set(outputs)):
                with write_errors(str(output)):
                    self.locks.append(Lock(output.with_name(output.name + LOCK), output))
                stack.callback(self.locks[-1].release)
            with write_errors(str(self.output)):
                self._resume() if resume else self.journal.begin()
            self.stack = stack.pop_all()

    def _resume(self) -> None:
        if self.journal.path.exists():
            self.journal.load(self.output, self.files)
        elif self.output.exists() and self.output.stat().st_size:
            raise OutputError(
                f"{self.output}: cannot be resumed, {self.journal.path.name} is missing; "
                "leave out --resume to start over"
            )

    def holds(self, name: str, now: Fingerprint | None) -> bool:
        """Whether an earlier run has the result of a recording that has not changed since."""
        held = self.journal.holds(name, now)
        self.reused += held
        return held

    def add(self, result: Tagging | Timeline, before: Fingerprint | None) -> None:
        """Append a result to the journal; see :meth:`sedkit.cli.journal.Journal.add`."""
        with write_errors(str(self.journal.path)):
            self.journal.add(result, before)

    def render(self, sheets: Sequence[Sheet], failures: Mapping[str, str], keep_journal: bool) -> None:
        """Write the files. Without any result, older files are left unchanged.

        Parameters
        ----------
        sheets : the files.
        failures : error messages, by recording.
        keep_journal : whether a later run may resume from these results.
        """
        if not self.journal.entries:
            sheets = [sheet for sheet in sheets if sheet.writer.lists_failures and failures]
        if sheets:
            with write_errors(str(self.journal.path)):
                self.journal.open()
                self.journal.sync()
            lost = [lock.guarded for lock in self.locks if not lock.is_there()]
            if left := [sheet for sheet in sheets if not any(each.parent in sheet.path.parents for each in lost)]:
                self._write(left, failures)
            if lost:
                raise OutputError(f"{lost[0]}: not written, because its folder or its disk was removed")
            with write_errors(str(self.journal.path)):
                self.journal.finish(keep_journal and bool(self.journal.entries))
            self.complete = True
        if self.reused:
            print_notice(f"{self.reused} of {len(self.files)} recordings were already done")

    def _write(self, sheets: Sequence[Sheet], failures: Mapping[str, str]) -> None:
        """Write the files: at the same time those about all recordings, one after the other those about one."""
        single: dict[str, list[Sheet]] = {}
        with ExitStack() as stack:
            together = []
            for sheet in sheets:
                if sheet.alone:
                    single.setdefault(sheet.run.files[0], []).append(sheet)
                else:
                    together.append(stack.enter_context(sheet.open()))
            for name in dict.fromkeys([*self.files, *failures]):
                if name in self.journal.entries:
                    result = self.journal.result(name)
                    for file in together:
                        file.write(result)
                    for sheet in single.get(name, ()):
                        sheet.path.parent.mkdir(parents=True, exist_ok=True)
                        with sheet.open() as file:
                            file.write(result)
                            file.commit(sync=not CAN_SYNC_ALL)
                elif name in failures:
                    for file in together:
                        file.fail(name, failures[name])
            for file in together:
                file.commit()
        if single and CAN_SYNC_ALL:
            os.sync()
        for folder in {file.path.parent for file in together}:
            sync_folder(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self.stack:
            if self.complete:
                self.journal.close()
            else:
                self._keep_journal(interrupted=error is not None)

    def _keep_journal(self, interrupted: bool) -> None:
        """Leave the results so far in the journal; delete it if it is new and holds none."""
        done = len(self.journal.entries)
        opened = self.journal.file is not None
        with suppress(OSError):
            self.journal.sync()
        self.journal.close()
        if opened and not done:
            self.journal.remove()
        elif done and interrupted and not self.journal.failed and self.journal.path.exists():
            place = self.journal.path
            print_notice(f"{done} of {len(self.files)} results are in {place}; --resume continues from there")
