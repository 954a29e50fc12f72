"""Standard streams that were closed when the process started, as some services and desktops leave them; full disks."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import NoReturn

from sedkit.errors import OutputError

FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)  # of a disk, a quota, a limit on files


class ClosedOutput(io.TextIOBase):
    """Stands for a standard output that is closed: writing fails with a message that says so."""

    def write(self, text: str) -> NoReturn:
        """Raise :class:`OutputError`."""
        raise OutputError("standard output is closed; redirect it to a file")


def replace_closed_streams() -> None:
    """Open the null device in place of each closed standard stream.

    Otherwise the next file that is opened gets its descriptor, and libraries print their messages into that file.
    Messages on a closed standard error are lost. A closed standard output fails when it is written to
    (:class:`ClosedOutput`), because results must not be lost. Python has None for a stream that is closed at the start.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets this descriptor, the lowest that is free
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def mute_stdout() -> None:
    """Send what is still buffered for standard output to the null device, so that the interpreter exits quietly."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
