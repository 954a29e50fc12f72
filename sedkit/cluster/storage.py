"""Folders and object stores through one door: pyarrow's file systems.

A location is a path, or a URI that pyarrow knows: ``s3://bucket/folder``, ``gs://``, ``abfs://``, ``file://``.
Special characters of a URI are percent-encoded, as in any URI.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import quote, unquote
from uuid import uuid4

from sedkit.errors import AudioError, OutputError

if TYPE_CHECKING:
    import pyarrow.fs

PUT_IS_ATOMIC = ("s3", "gcs", "abfs")  # an object appears when its last byte is there, and not before
READ_AHEAD = 1 << 20  # bytes asked of a store at a time: a request costs as much as some 100 kB


def is_uri(name: str) -> bool:
    return "://" in name


def resolve(location: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system of a location, and the path in it.

    Raises
    ------
    OSError, ValueError
        If there is no such file system, or it cannot be reached.
    """
    if not is_uri(location):
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), os.path.abspath(location)
    scheme, _, rest = location.partition("://")
    rest, mark, query = rest.partition("?")
    bucket, _, path = rest.partition("/")
    files, root = _connect(f"{scheme}://{bucket}/{mark}{query}")
    return files, f"{root.rstrip('/')}/{unquote(path)}"


@cache
def _connect(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system of a bucket and the bucket's own path; asked once, for it costs a request or two."""
    from pyarrow.fs import FileSystem

    return cast("tuple[pyarrow.fs.FileSystem, str]", FileSystem.from_uri(uri))


def reason(error: Exception) -> str:
    """What pyarrow says, in one line: the system's own words where it has some."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())[:300].rstrip(".")


class Store:
    """The folder, in a file system or an object store, that holds an archive.

    Raises
    ------
    OutputError
        If the location is none that can be written to or, later, if that fails.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            self.files, self.root = resolve(location)
        except (OSError, ValueError) as error:
            raise OutputError(f"{location}: cannot be reached: {reason(error)}") from None

    def path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def write(self, name: str, content: Any) -> None:
        """Put `content`, bytes or a buffer, under a name (``folder/file``), whole or not at all."""
        path = self.path(name)
        try:
            if self.files.type_name in PUT_IS_ATOMIC:
                self._put(path, content)
            else:
                folder, _, file = path.rpartition("/")
                temporary = f"{folder}/.{file}.{uuid4().hex}.tmp"
                self.files.create_dir(folder, recursive=True)
                try:
                    self._put(temporary, content)
                    self.files.move(temporary, path)
                except BaseException:
                    with suppress(OSError):  # it was never made
                        self.files.delete_file(temporary)
                    raise
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.location}: {name} cannot be written: {reason(error)}") from None

    def _put(self, path: str, content: Any) -> None:
        with self.files.open_output_stream(path) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes | None:
        """What is under a name; None if nothing is."""
        try:
            with self.files.open_input_file(self.path(name)) as file:
                return cast("bytes", file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.location}: {name} cannot be read: {reason(error)}") from None

    def names(self) -> list[str]:
        """Names of the files right in it, sorted; hidden ones left out."""
        from pyarrow import fs

        try:
            infos = self.files.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.location}: cannot be listed: {reason(error)}") from None
        return sorted(info.base_name for info in infos if info.is_file and not info.base_name.startswith("."))


def recordings_at(uri: str, endings: frozenset[str], recursive: bool) -> Iterator[tuple[str, int]]:
    """The recordings that a URI means, an object or those in a folder, sorted: name and size in bytes.

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
            yield uri, info.size
            return
        if info.type == fs.FileType.NotFound:
            raise AudioError(f"{uri}: no such object or folder; check the address")
        infos = files.get_file_info(fs.FileSelector(path, recursive=recursive))
    except (OSError, ValueError) as error:
        raise AudioError(f"{uri}: cannot be read: {reason(error)}") from None
    base, mark, query = uri.partition("?")
    found = [
        (f"{base.rstrip('/')}/{quote(inside)}{mark}{query}", info.size)
        for info in infos
        if info.is_file and PurePosixPath(info.path).suffix.lower() in endings
        for inside in [info.path[len(path.rstrip("/")) + 1 :]]
        if not any(part.startswith(".") for part in inside.split("/"))
    ]
    if not found:
        hint = "" if recursive else "; --recursive looks in the folders below as well"
        raise AudioError(f"{uri}: no audio files in this folder{hint}")
    yield from sorted(found)


class Remote(io.RawIOBase):
    """A recording in a store, as a raw file that is read while it is decoded; wrap it in :class:`io.BufferedReader`.

    Attributes
    ----------
    name : the URI.
    failure : why reading failed, or None. libsndfile takes a read that fails for the end of the recording, so whoever
        has decoded it looks here.

    Raises
    ------
    AudioError
        If it cannot be opened.
    """

    def __init__(self, uri: str) -> None:
        self.name = uri
        self.failure: str | None = None
        try:
            files, path = resolve(uri)
            self.file = files.open_input_file(path)
        except FileNotFoundError:
            raise AudioError(f"{uri}: no such object; check the address") from None
        except (OSError, ValueError) as error:
            raise AudioError(f"{uri}: cannot be opened: {reason(error)}") from None

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
            raise

    def close(self) -> None:
        if hasattr(self, "file") and not self.closed:
            self.file.close()
        super().close()


def open_recording(uri: str) -> tuple[BinaryIO, Remote]:
    """A recording in a store as a buffered file object, and the raw file below it."""
    raw = Remote(uri)
    return io.BufferedReader(raw, READ_AHEAD), raw
