"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sedkit.cli.output import write_errors
from sedkit.errors import OutputError


def check_writable(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse a file that cannot be written, before the work of computing it.

    Raises
    ------
    OutputError
        If it is a folder, is write-protected, is one of the inputs, or its folder does not exist or is write-protected.
    """
    target = Path(path)
    if any(os.path.exists(each) and target.exists() and target.samefile(each) for each in inputs):
        raise OutputError(f"{path}: is read by this command; choose another --output")
    if target.is_dir() or str(path).endswith(("/", os.sep)):
        raise OutputError(f"{path}: is a folder; name a file in it")
    if not target.parent.is_dir():
        raise OutputError(f"{path}: the folder {target.parent} does not exist; create it first")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise OutputError(f"{path}: is write-protected; change its permissions, or choose another --output")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it replaces ``path`` when the block ends without an exception.

    A path that is not a regular file (a device, a named pipe) is yielded itself.

    Raises
    ------
    OutputError
        If the file cannot be written. ``path`` is left unchanged.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with write_errors(str(path)):
            yield target
        return
    target = target.resolve() if target.is_symlink() else target
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with write_errors(str(path)):
        try:
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file with line feeds, atomically. Errors as for :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="\n")
