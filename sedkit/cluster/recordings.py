"""The recordings of an archive: what they are, where they are found, how one in a store is read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote

from sedkit.cluster.storage import is_uri, reason, resolve
from sedkit.errors import AudioError

if TYPE_CHECKING:
    import pyarrow

AT_ONCE = 16  # files to look at: a network folder answers slowly, but many
READ_AHEAD = 1 << 20  # bytes asked of a store at a time: a request costs as much as some 100 kB


class Recording(NamedTuple):
    """A recording to analyse: its path or URI, its size in bytes, and when it was last changed, in ns."""

    file: str
    size: int
    changed: int


def in_files(names: Iterable[str]) -> list[Recording]:
    """Recordings in files. One that is not there is told of when its turn comes."""

    def measured(name: str) -> Recording:
        try:
            status = os.stat(name)
        except (OSError, ValueError):
            return Recording(name, 0, 0)
        return Recording(name, status.st_size, status.st_mtime_ns)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(measured, names))


def in_store(uri: str, endings: frozenset[str], recursive: bool) -> list[Recording]:
    """The recordings that a URI means: an object, or those in a folder, sorted.

    Parameters
    ----------
    endings : what counts as a recording in a folder; an object that is named is always taken.

    Raises
    ------
    AudioError
        If there are none, or the store cannot be reached.
    """
    from pyarrow import fs

    try:
        files, path = resolve(uri)
        (info,) = files.get_file_info([path])
        if info.is_file:
            return [Recording(uri, info.size, info.mtime_ns or 0)]
        if info.type == fs.FileType.NotFound:
            raise AudioError(f"{uri}: no such object or folder; check the address")
        infos = files.get_file_info(fs.FileSelector(path, recursive=recursive))
    except (OSError, ValueError) as error:
        raise AudioError(f"{uri}: cannot be read: {reason(error)}") from None
    base, mark, query = uri.partition("?")
    found = [
        Recording(f"{base.rstrip('/')}/{quote(inside)}{mark}{query}", info.size, info.mtime_ns or 0)
        for info in infos
        if info.is_file and PurePosixPath(info.path).suffix.lower() in endings
        for inside in [info.path[len(path.rstrip("/")) + 1 :]]
        if not any(part.startswith(".") for part in inside.split("/"))
    ]
    if not found:
        hint = "" if recursive else "; --recursive looks in the folders below as well"
        raise AudioError(f"{uri}: no audio files in this folder{hint}")
    return sorted(found)


class _Remote(io.RawIOBase):
    """A recording in a store, as a raw file to wrap in :class:`io.BufferedReader`. Opened when it is first read.

    Attributes
    ----------
    name : the URI.
    failure : why reading failed, or None. A read that fails looks like the end of the recording, since libsndfile knows
        no other: whoever has decoded one has to look here.

    Raises
    ------
    AudioError
        If it cannot be opened.
    """

    def __init__(self, uri: str) -> None:
        self.name = uri
        self.failure: str | None = None

    @cached_property
    def file(self) -> pyarrow.NativeFile:
        try:
            files, path = resolve(self.name)
            return files.open_input_file(path)
        except FileNotFoundError:
            raise AudioError(f"{self.name}: no such object; check the address") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{self.name}: cannot be opened: {reason(error)}") from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return cast("int", self.file.seek(offset, whence))

    def tell(self) -> int:
        return cast("int", self.file.tell())

    def readinto(self, buffer: Any) -> int:
        try:
            return cast("int", self.file.readinto(buffer))
        except OSError as error:
            self.failure = reason(error)
            return 0

    def close(self) -> None:
        if "file" in self.__dict__ and not self.closed:
            self.file.close()
        super().close()


def open_recording(where: str) -> str | BinaryIO:
    """What :func:`sedkit.inference.pipeline.analyse` takes: the path, or for a URI a file object, which is opened when read."""
    return io.BufferedReader(_Remote(where), READ_AHEAD) if is_uri(where) else where


def close_recording(source: str | BinaryIO) -> str | None:
    """Be done with it; says why reading failed, if it did."""
    if isinstance(source, str):
        return None
    raw = cast("_Remote", cast("io.BufferedReader", source).raw)
    source.close()
    return raw.failure
