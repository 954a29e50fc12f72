"""The input of a run on a cluster: recordings in files and in object stores."""

from __future__ import annotations

import io
import os
from collections.abc import Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote

from sedkit.cluster.storage import is_uri, reason, resolve
from sedkit.errors import AudioError

if TYPE_CHECKING:
    import pyarrow

PARALLEL_STATS = 16  # network folders have high latency
READ_AHEAD = 1 << 20  # bytes per request; the latency of a request equals the transfer of about 100 kB


class Recording(NamedTuple):
    """A recording to analyse: path or URI, size in bytes, modification time in ns."""

    file: str
    size: int
    changed: int


def in_files(names: Iterable[str]) -> list[Recording]:
    """Recordings in files. A missing file gets size 0; its error is reported when it is analysed."""

    def with_stat(name: str) -> Recording:
        try:
            status = os.stat(name)
        except (OSError, ValueError):
            return Recording(name, 0, 0)
        return Recording(name, status.st_size, status.st_mtime_ns)

    with ThreadPoolExecutor(PARALLEL_STATS) as pool:
        return list(pool.map(with_stat, names))


def in_store(uri: str, suffixes: Container[str], recursive: bool) -> list[Recording]:
    """The recordings that a URI stands for: one object, or the sorted contents of a folder.

    Parameters
    ----------
    uri : of an object or a folder.
    suffixes : which objects in a folder count as recordings. A named object is always accepted.
    recursive : whether to search subfolders too.

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
        if info.is_file and PurePosixPath(info.path).suffix.lower() in suffixes
        for inside in [info.path[len(path.rstrip("/")) + 1 :]]
        if not any(part.startswith(".") for part in inside.split("/"))
    ]
    if not found:
        hint = "" if recursive else "; --recursive searches subfolders too"
        raise AudioError(f"{uri}: no audio files in this folder{hint}")
    return sorted(found)


class _RemoteFile(io.RawIOBase):
    """A recording in an object store, as a raw file for :class:`io.BufferedReader`. Opened at the first read.

    Attributes
    ----------
    name : the URI.
    failure : why a read failed, or None. A failed read looks like the end of the file, because libsndfile has no
        callback for read errors. Check this after decoding.

    Raises
    ------
    AudioError
        If the object cannot be opened.
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


def open_recording(location: str) -> str | BinaryIO:
    """A source for :func:`sedkit.inference.pipeline.analyse`: the path itself, or a lazily opened file for a URI."""
    return io.BufferedReader(_RemoteFile(location), READ_AHEAD) if is_uri(location) else location


def close_recording(source: str | BinaryIO) -> str | None:
    """Close a source of :func:`open_recording`; returns why a read failed, or None."""
    if isinstance(source, str):
        return None
    raw = cast("_RemoteFile", cast("io.BufferedReader", source).raw)
    source.close()
    return raw.failure
