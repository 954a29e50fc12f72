"""The journal of a run: an append-only file with the result of each recording, from which the outputs are rendered.

It lies beside the first output as ``NAME.journal`` and is a sequence of records::

    length of the head, length of the body, CRC-32 of both    3 x 4 bytes, little-endian
    head                                                       JSON
    body                                                       the result (:mod:`sedkit.cli.result_codec`); may be empty

The head of the first record holds FORMAT, the settings (version, model, options) and the classes; that of each further
record describes one recording, by its name and its state before it was read (:class:`Fingerprint`). A record with the
head ``{"complete": true}`` ends the journal of a run that has rendered its outputs.

Rules:

- What follows the first record that is cut off or has a wrong CRC does not count, and is cut off by ``--resume``.
- A record counts if the recording has not changed since. Of several records of a recording, the last one counts. A
  failed recording has none. Hence neither a crash nor a changed recording can lead to wrong results: whatever does not
  count is analysed again.
- A run resumes only with the settings it was started with. Other settings are refused, and so is leaving out recordings
  that still exist. Results of recordings that no longer exist are left out.
- A new run never overwrites a journal that holds results but is not complete, and neither run overwrites another file.
- The journal is on the disk before an output is replaced and, while the run goes on, every SYNC_INTERVAL seconds.
- It is deleted when a run ends without failures. It is kept after a run with ``--resume``, so that the run can be
  repeated when recordings have been added.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from sedkit.audio.prefetch import path_of
from sedkit.cli.streams import FULL
from sedkit.errors import OutputError
from sedkit.formats import FORMATS
from sedkit.formats.options import option_text

if TYPE_CHECKING:
    from sedkit.contract import Label
    from sedkit.results import Tagging, Timeline

FRAME = struct.Struct("<III")
FORMAT = 1  # of heads and bodies
BEGINNING = b'{"journal": '  # of the first head
SYNC_INTERVAL = 5.0  # seconds; a power loss costs the results of this time
SAMPLES, SAMPLE = 16, 4096  # blocks of a recording that are hashed, and their length in bytes


class Fingerprint(NamedTuple):
    """The state of a recording.

    Attributes
    ----------
    size : bytes.
    modified : time of the last change of its contents, in ns, which a program may set.
    changed : time of the last change of contents, name or permissions, in ns; on Windows, of the creation.
    sample : hash of blocks of the contents; empty if they were not read.
    """

    size: int
    modified: int
    changed: int
    sample: str = ""

    def matches(self, name: str, now: Fingerprint) -> bool:
        """Whether the recording is still the same. Reads some of it if only ``changed`` tells that it might differ."""
        if (self.size, self.modified) != (now.size, now.modified):
            return False
        return self.changed == now.changed or (self.sample != "" and self.sample == sample_of(name, now.size))


def fingerprint(name: str) -> Fingerprint | None:
    """The fingerprint of a regular file; None for anything else, such as a pipe or a missing file."""
    try:
        status = os.stat(path_of(name))
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def sample_of(name: str, size: int) -> str:
    """A hash of a file of up to 64 KiB, or of 16 blocks of 4 KiB of a larger one; empty if it cannot be read."""
    import hashlib

    digest = hashlib.blake2b(digest_size=8)
    try:
        with open(path_of(name), "rb", buffering=0) as file:
            for number in range(SAMPLES):
                file.seek(
                    max(0, size - SAMPLE) * number // (SAMPLES - 1) if size > SAMPLES * SAMPLE else number * SAMPLE
                )
                digest.update(file.read(SAMPLE))
    except OSError:
        return ""
    return digest.hexdigest()


class Entry(NamedTuple):
    """Where the result of a recording is in the journal, and what the recording was like in an earlier run."""

    position: int
    before: Fingerprint | None
    path: str


class Journal:
    """The journal of one run.

    Parameters
    ----------
    path : ``NAME.journal``.
    settings : everything that determines the results, by option name; values are JSON-serialisable.

    Attributes
    ----------
    entries : the recordings whose results it holds, by name; those of an earlier run only after :meth:`load`.
    failed : whether its disk fails, for other reasons than that it is full.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = json.loads(json.dumps(settings))  # tuples become lists, as when read back
        self.entries: dict[str, Entry] = {}
        self.labels: tuple[Label, ...] = ()
        self.end = 0  # bytes; of the records that count
        self.file: BinaryIO | None = None
        self.synced = time.monotonic()
        self.failed = False

    def begin(self) -> None:
        """Begin a new journal, in place of an earlier one, with the first result.

        Raises
        ------
        OutputError
            If there is a journal of an interrupted run, or another file in its place.
        """
        self._check_place("rename it, or choose another --output")
        found, complete = 0, False
        for _, head in self.records():
            found, complete = found + ("file" in head), "complete" in head
        if found and not complete:
            raise OutputError(
                f"{self.path}: holds results of an interrupted run; continue with --resume, or delete it to start over"
            )
        self.end = 0

    def load(self, output: Path, files: Sequence[str]) -> None:
        """Read the journal of an earlier run.

        Parameters
        ----------
        output : the output beside which it lies, for messages.
        files : the recordings that are given now.

        Raises
        ------
        OutputError
            If that run had other settings or recordings, or its file is no journal.
        """
        remedy = f"to start over, leave out --resume and delete {self.path}"
        self._check_place(remedy)
        earlier: dict[str, Any] | None = None
        for position, head in self.records():
            if earlier is None:
                earlier = head["settings"]
                if head["journal"] != FORMAT:
                    raise OutputError(f"{self.path}: is of another version of sedkit; {remedy}")
                self._check_settings(output, earlier, remedy)
                from sedkit.contract import Label

                self.labels = tuple(Label(*label) for label in head["labels"])
            elif "file" in head:
                before = Fingerprint(*head["before"]) if head["before"] else None
                self.entries[head["file"]] = Entry(position, before, head["path"])
        given = set(files)
        dropped = [file for file in self.entries if file not in given]
        if existing := next((file for file in dropped if os.path.exists(self.entries[file].path)), None):
            raise OutputError(f"{output}: holds results of {existing}, which is not given now; give it, or {remedy}")
        for file in dropped:
            del self.entries[file]

    def _check_place(self, remedy: str) -> None:
        """Refuse a place that something else takes; a journal that was cut off in its first record is one."""
        try:
            with open(self.path, "rb") as file:
                begun = file.read(FRAME.size + len(BEGINNING))
        except FileNotFoundError:
            return
        except IsADirectoryError:
            raise OutputError(f"{self.path}: is a folder, and the results of the run go there; {remedy}") from None
        if any(begun) and not BEGINNING.startswith(begun[FRAME.size :]):
            raise OutputError(f"{self.path}: is not a journal of this version of sedkit; {remedy}")

    def _check_settings(self, output: Path, earlier: Mapping[str, Any], remedy: str) -> None:
        kept, keeps = (set(settings.get("kept", ())) for settings in (earlier, self.settings))
        for field in sorted(kept ^ keeps):
            formats = " or ".join(name for name, writer in FORMATS.items() if field in writer.keeps)
            had, has = ("an", "none") if field in kept else ("no", "one")
            raise OutputError(
                f"{output}: the earlier run had {had} output in {formats}, this one has {has}; give the same formats, "
                f"or, {remedy}"
            )
        for name in {**earlier, **self.settings}:
            before, now = (option_text(name, settings.get(name)) for settings in (earlier, self.settings))
            if before != now:
                raise OutputError(f"{output}: the earlier run used {before}, this one uses {now}; {remedy}")

    def records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Positions and heads of the records that count; sets ``end`` to the end of the last one about results."""
        self.end = 0
        try:
            file = open(self.path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return
        with file:
            while (record := _read(file)) is not None:
                head, _ = record
                if ("journal" in head) != (self.end == 0):
                    return
                yield self.end if "file" in head else 0, head
                if "complete" not in head:
                    self.end = file.tell()

    def holds(self, name: str, now: Fingerprint | None) -> bool:
        """Whether there is a result of this recording, which has not changed since; forgets one that does not count."""
        entry = self.entries.get(name)
        if entry is None:
            return False
        if now is None or entry.before is None or not entry.before.matches(name, now):
            del self.entries[name]
            return False
        return True

    def add(self, result: Tagging | Timeline, before: Fingerprint | None) -> None:
        """Append the result of a recording.

        Parameters
        ----------
        before : the recording's fingerprint from before it was read; None if it has none, such as a pipe.
        """
        from sedkit.cli.result_codec import pack

        self.open(getattr(result, "labels", ()))
        if before is not None:
            same = before == fingerprint(result.file)
            before = before._replace(sample=sample_of(result.file, before.size) if same else "")
        position = self.end
        path = path_of(result.file)
        self._append({"file": result.file, "path": path, "before": before}, pack(result))
        self.entries[result.file] = Entry(position, None, path)  # a later run reads the fingerprint from the file
        if time.monotonic() - self.synced > SYNC_INTERVAL:
            self.sync()

    def result(self, name: str) -> Tagging | Timeline:
        """The result of a recording in ``entries``.

        Raises
        ------
        OutputError
            If the journal was changed by another program.
        """
        from sedkit.cli.result_codec import unpack

        assert self.file is not None
        self.file.seek(self.entries[name].position)
        record = _read(self.file)
        changed = OutputError(f"{self.path}: was changed by another program; delete it and start over")
        if record is None or record[0].get("file") != name:
            raise changed
        try:
            return replace(unpack(record[1], self.labels), file=name)  # which may be a ChannelName
        except (zlib.error, struct.error, ValueError, LookupError, TypeError, AttributeError):
            raise changed from None

    def open(self, labels: tuple[Label, ...] = ()) -> None:
        """Open the file, unless it is open; cut off what does not count, and begin it if it is new.

        Parameters
        ----------
        labels : the classes of all timelines of the run; for a new journal.
        """
        if self.file is not None:
            return
        self.file = open(self.path, "r+b" if self.end else "w+b", buffering=0)  # noqa: SIM115
        self.file.truncate(self.end)
        if not self.end:
            self.labels = labels
            described = [(label.name, label.mid, label.index) for label in labels]
            self._append({"journal": FORMAT, "settings": self.settings, "labels": described}, b"")
            self.sync()
            sync_folder(self.path.parent)

    def _append(self, head: Mapping[str, Any], body: bytes) -> None:
        """Write a record at the end; a failed or interrupted write is overwritten by the next one, or cut off."""
        assert self.file is not None
        encoded = json.dumps(head).encode("ascii")
        crc = zlib.crc32(body, zlib.crc32(encoded))
        record = memoryview(FRAME.pack(len(encoded), len(body), crc) + encoded + body)
        self.file.seek(self.end)
        with self._noting_failures():
            while record:
                record = record[self.file.write(record) :]
        self.end = self.file.tell()

    @contextmanager
    def _noting_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # a disk that fails may say so only once
            self.failed = self.failed or error.errno not in FULL
            raise

    def sync(self) -> None:
        """Wait until the records are on the disk."""
        if self.file is not None:
            with self._noting_failures():
                os.fsync(self.file.fileno())
            self.synced = time.monotonic()

    def finish(self, keep: bool) -> None:
        """Mark the journal as complete, or delete it."""
        if not keep:
            self.remove()
            return
        self._append({"complete": True}, b"")
        self.sync()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until new names in a folder are on the disk; does nothing where folders cannot be opened (Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Head and body of the record at the position of a file; None if it is incomplete or damaged."""
    frame = file.read(FRAME.size)
    if len(frame) < FRAME.size:
        return None
    head_length, body_length, crc = FRAME.unpack(frame)
    left = os.fstat(file.fileno()).st_size - file.tell()
    if head_length + body_length > left:
        return None
    head, body = file.read(head_length), file.read(body_length)
    if zlib.crc32(body, zlib.crc32(head)) != crc:
        return None
    try:
        decoded = json.loads(head)
    except ValueError:
        return None
    return (decoded, body) if isinstance(decoded, dict) else None
