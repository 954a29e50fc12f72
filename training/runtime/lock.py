"""A file lock that keeps two processes from working on the same run directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType

from sedkit.errors import OutputError, SedkitError

try:
    import fcntl
except ImportError:  # Windows: no locking
    fcntl = None  # type: ignore[assignment]


class LockError(SedkitError):
    """Another process is working on the run."""


class Lock:
    """Holds ``directory/.lock`` until it is released or the process ends, even if it is killed.

    Raises
    ------
    LockError
        If another process holds it.
    OutputError
        If the lock file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / ".lock"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
        try:
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "another process"
            self._file.close()
            raise LockError(f"{directory}: {holder} is working on this run; stop it first, or wait") from None
        except OSError:
            pass  # the file system does not support locks
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Release the lock."""
        self._file.close()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
