"""The folder of ``sedkit extract``: clips in a folder per class, and a table of them.

On disk::

    Dog/street_12.340-13.900.wav   a clip: class, recording, start and end in the recording
    clips.tsv                      the table, one row per clip; written at the end
    clips.tsv.partial              rows of an unfinished run, each written before its clip

A clip that is in the table, exists, and is newer than its recording is not cut again. A name that is taken by another
clip or a foreign file gets a number.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from sedkit.audio.prefetch import channel_of, path_of
from sedkit.cli.atomic import replacing
from sedkit.cli.lock import Lock
from sedkit.cli.targets import cut
from sedkit.errors import OutputError
from sedkit.formats.delimited import row_writer
from sedkit.results import Event

TABLE = "clips.tsv"
PARTIAL = f"{TABLE}.partial"
LONGEST_NAME = 200  # bytes of a class or a recording; with times, number, ending and .tmp no more than 255
UNSAFE = re.compile(r"[^\w ,.'()&+-]")


@dataclass(frozen=True, slots=True)
class Clip:
    """A row of the table. Times are seconds in the recording, as written: with three decimals.

    Attributes
    ----------
    clip : path of the file in the folder.
    source : path of the recording, or the name of one of its channels.
    onset, offset, label, mid, score : of the event.
    start, end : of the clip: the event with its padding.
    track : number of the audio track, from 1 on; empty for the default one.
    """

    clip: str
    source: str
    onset: str
    offset: str
    label: str
    mid: str
    score: str
    start: str
    end: str
    track: str

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies a clip."""
        return self.source, self.label, self.start, self.end, self.track, os.path.splitext(self.clip)[1]


class ClipFolder:
    """The folder. A context manager, which writes the table at its end, also after an exception.

    Parameters
    ----------
    path : created if it does not exist.
    track : number of the audio track that is cut, from 1 on; None for the default one of each recording.

    Attributes
    ----------
    present : number of clips that an earlier run has written.
    written : paths of the clips that this run has written.

    Raises
    ------
    OutputError
        If the folder cannot be written, holds a foreign file by the name of the table, or another run uses it.
    """

    def __init__(self, path: Path, track: int | None) -> None:
        self.path, self.present = path, 0
        self.track = "" if track is None else str(track)
        self.written: list[Path] = []
        self.table = path / TABLE
        self.partial = path / PARTIAL
        try:
            path.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(path / f"{TABLE}.lock", self.table)
        except (FileExistsError, NotADirectoryError):
            raise OutputError(f"{path}: is not a folder; choose another --output") from None
        except OSError as error:
            raise cannot_be_written(path, error) from None
        try:
            self.clips = {clip.key: clip for file in (self.table, self.partial) for clip in read(file)}
            self.taken = {clip.clip.casefold() for clip in self.clips.values()}
            self.rows = open(self.partial, "a", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
        except OSError as error:
            self.lock.release()
            raise cannot_be_written(path, error) from None
        except BaseException:
            self.lock.release()
            raise

    def add(self, source: str, event: Event, start: float, end: float, suffix: str) -> Path | None:
        """Enter a clip into the table; return the path to write it to, or None if it is there and up to date.

        Raises
        ------
        OutputError
            If the folder of its class or the table cannot be written.
        """
        times = (f"{event.onset:.3f}", f"{event.offset:.3f}")
        span = (f"{start:.3f}", f"{end:.3f}")
        known = self.clips.get((source, event.label, *span, self.track, suffix))
        name = known.clip if known else self._free_name(source, event.label, *span, suffix)
        path = self.path / name
        clip = Clip(name, source, *times, event.label, event.mid or "", f"{event.score:.4f}", *span, self.track)
        self.clips[clip.key] = clip  # also of a known clip, whose event may have another score now
        if known and os.path.exists(path) and path.stat().st_mtime >= os.stat(path_of(source)).st_mtime:
            self.present += 1
            return None
        self.taken.add(name.casefold())
        try:
            path.parent.mkdir(exist_ok=True)
            write(self.rows, [clip])
            self.rows.flush()
        except OSError as error:
            raise cannot_be_written(path, error) from None
        return path

    def _free_name(self, source: str, label: str, start: str, end: str, suffix: str) -> str:
        folder = cut(UNSAFE.sub("_", label).strip(" ."), LONGEST_NAME) or "_"
        channel = channel_of(source)
        stem = cut(Path(path_of(source)).stem, LONGEST_NAME) + ("" if channel is None else f"#{channel}")
        number, name = 1, f"{folder}/{stem}_{start}-{end}{suffix}"
        while name.casefold() in self.taken or os.path.exists(self.path / name):
            number += 1
            name = f"{folder}/{stem}_{start}-{end}_{number}{suffix}"
        return name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.rows.close()
            clips = [clip for clip in self.clips.values() if os.path.exists(self.path / clip.clip)]
            clips.sort(key=lambda clip: (clip.source, float(clip.start), clip.label))
            with (
                replacing(self.table) as temporary,
                temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
            ):
                row_writer(file, "\t").writerow(COLUMNS)
                write(file, clips)
            self.partial.unlink()
        finally:
            self.lock.release()


COLUMNS = tuple(field.name for field in fields(Clip))


def cannot_be_written(path: Path, error: OSError) -> OutputError:
    """The error about a path that cannot be written."""
    return OutputError(f"{path}: cannot be written: {error.strerror}; choose another --output")


def write(file: IO[str], clips: Iterable[Clip]) -> None:
    """Write rows of the table."""
    row_writer(file, "\t").writerows(map(astuple, clips))


def read(path: Path) -> list[Clip]:
    """Rows of a table, or of its unfinished part, which has no header; none if there is no such file."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t"))
    except FileNotFoundError:
        return []
    if path.name == TABLE and (not rows or tuple(rows[0]) != COLUMNS):
        raise OutputError(f"{path}: is not a table of sedkit extract; choose another --output")
    return [Clip(*row) for row in rows if len(row) == len(COLUMNS) and tuple(row) != COLUMNS]  # the last may be cut off
