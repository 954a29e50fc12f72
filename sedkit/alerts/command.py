"""The action ``run``: a command that gets the alert as JSON on its standard input. No shell is involved."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from sedkit.alerts.alert import Alert
from sedkit.alerts.sink import QueuedSink, SinkError
from sedkit.errors import ArgumentError

TIMEOUT = 30.0  # seconds
END = 8192  # bytes of standard error in which its last line is looked for


class Command(QueuedSink[Alert]):
    """Runs a command for each alert, one at a time.

    A command is done when its own process ends, whatever that started goes on. It has a session of its own, so that
    Ctrl-C in the terminal does not reach it.

    Parameters
    ----------
    name, on_notice : as for :class:`Sink`.
    arguments : program and arguments.
    timeout : seconds after which the command is killed, with all that it started.
    """

    def __init__(
        self, name: str, on_notice: Callable[[str], None], arguments: Sequence[str], timeout: float = TIMEOUT
    ) -> None:
        self.arguments, self.timeout = list(arguments), timeout
        super().__init__(name, on_notice)

    def begin(self, alert: Alert) -> None:
        self.put(alert)

    def deliver(self, alert: Alert) -> None:
        record = json.dumps(alert.to_dict(), ensure_ascii=False).encode() + b"\n"
        try:
            with tempfile.TemporaryFile() as errors:  # a pipe would stay open as long as anything that writes into it
                code = self._run_command(record, errors)
                errors.seek(-min(END, errors.seek(0, os.SEEK_END)), os.SEEK_END)
                lines = errors.read().decode(errors="replace").split("\n")
        except OSError as error:
            raise SinkError(f"{self.arguments[0]} cannot be run ({error.strerror})") from None
        if code:
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            said = f": {last[:200]}" if last else ""
            raise SinkError(f"{self.arguments[0]} ended with exit code {code}{said}")

    def _run_command(self, record: bytes, errors: IO[bytes]) -> int:
        """Run the command; returns its exit code."""
        process = subprocess.Popen(
            self.arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # standard output is that of the records
            stderr=errors,
            start_new_session=True,
        )
        try:
            process.communicate(record, timeout=self.timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise SinkError(f"{self.arguments[0]} took more than {self.timeout:g} s and was killed") from None
        return process.returncode


def check_program(name: str) -> None:
    """Check that there is a program of this name, or with this path, that can be run.

    Raises
    ------
    ArgumentError
        If there is none.
    """
    if shutil.which(name):
        return
    if os.path.isfile(name) and os.path.dirname(name):
        raise ArgumentError(f"{name} cannot be run; make it executable, or name the program that runs it")
    raise ArgumentError(f"there is no program {name!r}; check the name, or give its path")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all of its session; where there are no sessions, the process alone."""
    with suppress(ProcessLookupError, PermissionError), process:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
