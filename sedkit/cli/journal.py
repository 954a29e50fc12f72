"""The journal of a run with ``--output NAME``, from which ``--resume`` continues.

A resumed run ends with the same bytes as an uninterrupted one. On disk::

    NAME            complete results; only ever replaced as a whole
    NAME.partial    results of a running or interrupted run, one recording after the other, in order of completion
    NAME.lock       empty; deleted at the end of a run
    NAME.journal    JSON Lines. They describe the results in NAME.partial or, if there is none, in NAME. The first
                    line holds the settings (version, model, options). Each further line describes one recording:
                    its name, its size and modification time before it was read, the position and length in bytes
                    of its results, and their CRC-32

Rules:

- Results are written before their journal line. Results without a complete line are cut off.
- A line counts if the CRC matches the results, and the recording still has the same size and modification time.
  Hence neither a crash, nor an edited results file, nor a changed recording can lead to wrong results: whatever does
  not count is analysed again. A failed recording has no line. A recording without rows has one, of 0 bytes.
- A run resumes only with the settings it was started with. Other settings are refused, and so is leaving out
  recordings that still exist. Results of recordings that no longer exist are dropped.
- At the end, results are sorted into the order of the recordings if they are out of order, because a recording had
  changed, or had failed at first.
- The journal is deleted when a run ends without failures. It is kept after a run with ``--resume``, so that the run
  can be repeated when recordings have been added.
- ``NAME.lock`` is locked (where the file system supports locks) from before an earlier run's files are read until after
  ``NAME.partial`` is renamed. Hence only one run at a time reads and writes the three files above. A new run never
  overwrites ``NAME.partial``.
- A file is on the disk before it replaces another, so that a power loss leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from sedkit.errors import OutputError


class Fingerprint(NamedTuple):
    """Identifies the state of a recording: size in bytes and modification time in ns."""

    size: int
    changed: int


def fingerprint(name: str) -> Fingerprint | None:
    """The fingerprint of a regular file; None for anything else, such as a pipe or a missing file."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return Fingerprint(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished recording, and the position, length and CRC-32 of its results in the results file."""

    file: str
    size: int
    changed: int
    start: int
    length: int
    crc: int

    @property
    def end(self) -> int:
        return self.start + self.length

    def results(self, file: BinaryIO) -> bytes | None:
        """The results, read from the results file; None if the file does not hold them."""
        file.seek(self.start)
        results = file.read(self.length)
        return results if len(results) == self.length and zlib.crc32(results) == self.crc else None


class Journal:
    """The journal of one results file.

    Parameters
    ----------
    path : ``NAME.journal``.
    settings : everything that determines the results, by option name; values are JSON-serialisable.

    Attributes
    ----------
    entries : finished recordings of an earlier run, by name; empty unless :meth:`load` was called.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(settings))  # tuples become lists, as when read back
        self.entries: dict[str, Entry] = {}
        self.file: BinaryIO | None = None

    def load(self, results: Path, remedy: str) -> None:
        """Read the journal of an earlier run; entries that do not match its results are skipped.

        Parameters
        ----------
        results : the earlier run's results file.
        remedy : what a user can do if the results cannot be used; part of the error message.

        Raises
        ------
        OutputError
            If that run had other settings, or its journal is damaged.
        """
        lines = [_parse(line) for line in self.path.read_bytes().splitlines()]
        earlier_settings = lines[0] if lines else None
        if earlier_settings is None:
            raise OutputError(f"{self.path}: damaged; {remedy}")
        for name in earlier_settings | self.settings:
            before, now = (_format_option(name, settings.get(name)) for settings in (earlier_settings, self.settings))
            if before != now:
                raise OutputError(f"{results}: the earlier run used {before}, this one uses {now}; {remedy}")
        with open(results, "rb") as file:
            for line in lines[1:]:
                with suppress(TypeError):  # an incomplete line
                    entry = Entry(**(line or {}))
                    if entry.results(file) is not None:
                        self.entries[entry.file] = entry

    def write(self, entries: Iterable[Entry]) -> None:
        """Replace the file by one with these entries; :meth:`add` appends more."""
        self.close()
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            with open(temporary, "wb") as file:
                for line in (self.settings, *map(asdict, entries)):
                    file.write(_line(line))
                sync(file)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115

    def add(self, entry: Entry) -> None:
        """Append the entry of a recording whose results have been written."""
        if self.file is None:
            self.write([])
        assert self.file is not None
        self.file.write(_line(asdict(entry)))

    def close(self) -> None:
        if self.file:
            self.file.close()
            self.file = None

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def sync(file: IO[bytes] | FileIO) -> None:
    """Flush a file, and wait until it is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record) + "\n").encode("ascii")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _format_option(name: str, value: Any) -> str:
    """An option and its value, for an error message."""
    if value is None or value is False:
        return f"no {name}"
    return f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
