"""Files: atomic writes, JSON, SHA-256.

A reader sees either the old file or the complete new one, even if the writer is killed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sedkit.errors import OutputError, SedkitError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` when the block ends without an exception.

    Raises
    ------
    OutputError
        If the file cannot be written, such as without permission or on a full disk. ``path`` is left unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room, or choose another place") from None


@contextmanager
def replacing_together() -> Iterator[Callable[[Path], Path]]:
    """Yield a function from a path to a temporary one beside it.

    When the block ends without an exception, all temporary files are on the disk before the first of them gets its
    name. Otherwise none of the paths changes.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    temporaries: dict[Path, Path] = {}
    path = Path()

    def temporary_for(wanted: Path) -> Path:
        nonlocal path
        path = wanted
        temporaries[path] = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        return temporaries[path]

    try:
        yield temporary_for
        for path, temporary in temporaries.items():
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        for path, temporary in temporaries.items():
            temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); make room, or choose another place") from None
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def replace_together(contents: Mapping[Path, bytes]) -> None:
    """Replace several files once all are written; if one cannot be written, none changes.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    with replacing_together() as temporary_for:
        for path, content in contents.items():
            temporary_for(path).write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically. NaN and infinity, which JSON lacks, raise ValueError."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


@contextmanager
def readable(path: Path, remedy: str) -> Iterator[None]:
    """Name ``path`` and the ``remedy`` if the block, which reads the file and its values, cannot.

    Raises
    ------
    SedkitError
        If the file is missing, damaged, or not of the form that the block expects.
    """
    try:
        yield
    except SedkitError:
        raise
    except OSError as error:
        raise SedkitError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SedkitError(f"{path}: is damaged, or of another form ({error!r}); {remedy}") from None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
