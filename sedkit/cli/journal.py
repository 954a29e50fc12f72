"""What a run with ``--output NAME`` has done so far: how ``--resume`` ends with the bytes of an unbroken run.

On disk::

    NAME            complete results; only ever replaced as a whole
    NAME.partial    results of a run under way or broken off, one recording after the other, as they came
    NAME.journal    JSON Lines on the results in NAME.partial or, where there is none, in NAME. First what they were
                    made with: versions, model, options. Then a line a recording: its name, its size and time of
                    change before it was read, where its results stand (byte, number of bytes) and their CRC-32

Rules:

- Results are written before their line. What no line speaks of, or no whole line, never was: it is cut off.
- A line counts if the CRC fits the results and the recording still has that size and time of change. So neither a
  crash at any point, nor an edited file, nor a recording that changed, can bring in a wrong result; whatever does not
  count is done again. A recording that failed has no line. A recording without a single row has one, of 0 bytes.
- A run goes on only with what it was begun with: other options are refused, and so is leaving out recordings that
  still exist. Recordings that no longer exist are left out of the whole.
- At the end, results that came out of order (something had changed, or had failed at first) are put in order.
- The journal goes when a run ends without failures, and stays when it ran with ``--resume``: such a run may be
  repeated whenever recordings have been added.
- ``NAME.partial`` is locked (where the system can) while a run writes it, and never overwritten by a new run.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sedkit.errors import OutputError


class Fingerprint(NamedTuple):
    """What tells that a recording has changed: its size in bytes, and when it was last changed, in ns."""

    size: int
    changed: int


def fingerprint(name: str) -> Fingerprint | None:
    """The fingerprint of a regular file; None for a pipe, or what is not there."""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return None
    return Fingerprint(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording that is done, and where its results stand in the file of results."""

    file: str
    size: int
    changed: int
    start: int
    length: int
    crc: int

    @property
    def end(self) -> int:
        return self.start + self.length

    def results(self, store: BinaryIO) -> bytes | None:
        """The results, out of the file that should hold them; None if they are not there."""
        store.seek(self.start)
        results = store.read(self.length)
        return results if len(results) == self.length and zlib.crc32(results) == self.crc else None


class Journal:
    """The journal of one file of results.

    Parameters
    ----------
    path : ``NAME.journal``.
    made_with : what the results depend on, by the names that a user knows them by; values that JSON can hold.

    Attributes
    ----------
    entries : what an earlier run has done, by recording; empty unless :meth:`load` was called.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any]) -> None:
        self.path = path
        self.made_with = json.loads(json.dumps(made_with))  # as it reads back
        self.entries: dict[str, Entry] = {}
        self.file: BinaryIO | None = None

    def load(self, store: Path, remedy: str) -> None:
        """Read what an earlier run has done.

        Parameters
        ----------
        store : where its results are.
        remedy : what to do if they are not to be used.

        Raises
        ------
        OutputError
            If that run had other options, or its journal is damaged.
        """
        lines = [_parsed(line) for line in self.path.read_bytes().splitlines()]
        begun_with = lines[0] if lines else None
        if begun_with is None:
            raise OutputError(f"{self.path}: damaged; {remedy}")
        for name in begun_with | self.made_with:
            then, now = (_shown(name, options.get(name)) for options in (begun_with, self.made_with))
            if then != now:
                raise OutputError(f"{store}: made with {then}, and now it is {now}; {remedy}")
        with open(store, "rb") as results:
            for line in lines[1:]:
                with suppress(TypeError):  # a line that broke off
                    entry = Entry(**(line or {}))
                    if entry.results(results) is not None:
                        self.entries[entry.file] = entry

    def write(self, entries: Iterable[Entry]) -> None:
        """Begin the file anew, with some entries; more can be added."""
        self.close()
        temporary = self.path.with_name(self.path.name + ".tmp")
        try:
            with open(temporary, "wb") as file:
                for line in (self.made_with, *map(asdict, entries)):
                    file.write(_line(line))
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)
        self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115

    def add(self, entry: Entry) -> None:
        """Note that a recording is done, once its results are written."""
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


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record) + "\n").encode("ascii")


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _shown(name: str, value: Any) -> str:
    if value is None or value is False:
        return f"no {name}"
    return f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
