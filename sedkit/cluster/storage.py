"""Folders and object stores through one door, pyarrow's file systems.

A location is a path, or a URI that pyarrow knows: ``s3://bucket/folder``, ``gs://``, ``abfs://``, ``file://``.
Special characters of a URI are percent-encoded, as in any URI.
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

PUT_IS_ATOMIC = ("s3", "gcs", "abfs")  # an object appears when its last byte is there, and not before


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
            (info,) = self.files.get_file_info([self.root])
        except (OSError, ValueError) as error:
            raise OutputError(f"{location}: cannot be reached: {reason(error)}") from None
        if info.is_file:
            raise OutputError(f"{location}: this is a file; name a folder")

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

    def delete(self, name: str) -> None:
        """Take away what is under a name."""
        try:
            self.files.delete_file(self.path(name))
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.location}: {name} cannot be deleted: {reason(error)}") from None

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
