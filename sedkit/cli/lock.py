"""A lock file, which only one process at a time can hold."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from sedkit.errors import OutputError


class Lock:
    """A lock that is held from the moment it is made until :meth:`release`, or until the process ends.

    The file is deleted on release. After a crash it stays behind, unlocked, and the next process takes it. On file
    systems without locks, nothing is locked.

    Parameters
    ----------
    path : of the lock file, which is created.
    guarded : what the lock protects; for the message.

    Raises
    ------
    OutputError
        If another process holds the lock.
    OSError
        If the file cannot be created.
    """

    def __init__(self, path: Path, guarded: Path) -> None:
        self.path, self.guarded = path, guarded
        while True:
            self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            if not try_lock(self.descriptor):
                os.close(self.descriptor)
                raise OutputError(f"{guarded}: another run is writing it; wait for it, or choose another --output")
            if self.is_there():
                return
            os.close(self.descriptor)  # the process that held the lock has deleted the file since it was opened here

    def is_there(self) -> bool:
        """Whether the file is still the one under its name; not if it or its disk was removed."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), os.stat(self.path))
        except OSError:
            return False

    def release(self) -> None:
        """Delete the file and give up the lock, in this order where a file that is open can be deleted."""
        if sys.platform == "win32":
            os.close(self.descriptor)
            with suppress(OSError):  # another process has opened it
                self.path.unlink()
        else:
            with suppress(OSError):  # its disk was removed
                self.path.unlink()
            os.close(self.descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file without waiting; returns False if another process has locked it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # this file system has no locks
    return True
