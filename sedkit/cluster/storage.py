"""Uniform access to folders and object stores, through pyarrow's file systems.

A location is a path, or a URI that pyarrow supports: ``s3://bucket/folder``, ``gs://``, ``abfs://``, ``file://``.
Special characters in a URI are percent-encoded.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote
from uuid import uuid4

from sedkit.errors import OutputError

if TYPE_CHECKING:
    import pyarrow.fs

ATOMIC_WRITES = ("s3", "gcs", "abfs")  # an object appears only when it is complete


def is_uri(name: str) -> bool:
    """Whether a location is a URI, not a path."""
    return "://" in name


def resolve(location: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The file system of a location, and the path within it.

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
    """The file system of a bucket and the bucket's path in it; cached, because it costs one or two requests."""
    from pyarrow.fs import FileSystem

    return cast("tuple[pyarrow.fs.FileSystem, str]", FileSystem.from_uri(uri))


def reason(error: Exception) -> str:
    """The message of a pyarrow error, on one line; the operating system's message if it has an errno."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())[:300].rstrip(".")


class Store:
    """A folder in a file system or object store.

    Parameters
    ----------
    location : path or URI. The folder need not exist.

    Raises
    ------
    OutputError
        If the location cannot be reached or is a file. All methods raise it if reading or writing fails.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            self.files, self.root = resolve(location)
            (info,) = self.files.get_file_info([self.root])
        except (OSError, ValueError) as error:
            raise OutputError(f"{location}: cannot be reached: {reason(error)}") from None
        if info.is_file:
            raise OutputError(f"{location}: is a file; name a folder")

    def path(self, name: str) -> str:
        """The path of a name (``folder/file``) in the file system."""
        return f"{self.root.rstrip('/')}/{name}"

    def write(self, name: str, content: Any) -> None:
        """Write bytes or a buffer to a name (``folder/file``), atomically."""
        path = self.path(name)
        try:
            if self.files.type_name in ATOMIC_WRITES:
                self._put(path, content)
            else:
                folder, _, file = path.rpartition("/")
                temporary = f"{folder}/.{file}.{uuid4().hex}.tmp"
                self.files.create_dir(folder, recursive=True)
                try:
                    self._put(temporary, content)
                    self.files.move(temporary, path)
                except BaseException:
                    with suppress(OSError):  # it may not exist
                        self.files.delete_file(temporary)
                    raise
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.location}: {name} cannot be written: {reason(error)}") from None

    def _put(self, path: str, content: Any) -> None:
        with self.files.open_output_stream(path) as stream:
            stream.write(content)

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist."""
        try:
            with self.files.open_input_file(self.path(name)) as file:
                return cast("bytes", file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.location}: {name} cannot be read: {reason(error)}") from None

    def names(self) -> list[str]:
        """Sorted names of the files directly in the folder, except hidden ones."""
        from pyarrow import fs

        try:
            infos = self.files.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.location}: cannot be listed: {reason(error)}") from None
        return sorted(info.base_name for info in infos if info.is_file and not info.base_name.startswith("."))
