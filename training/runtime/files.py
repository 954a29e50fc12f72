"""Files: atomic writes, JSON, SHA-256.

A reader sees either the old file or the complete new one, even if the writer is killed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
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


def replace_together(contents: Mapping[Path, bytes]) -> None:
    """Replace several files once all are written; if one cannot be written, none changes.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(replacing(path)).write_bytes(content)


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
