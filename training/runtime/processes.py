"""Several training commands at a time, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import click

POLL = 0.1  # seconds between two checks for finished processes


class Processes:
    """Running child processes.

    Ctrl-C reaches the children directly, and each reports how it ends; this process waits for them. SIGTERM is passed
    on. When the ``with`` block ends, all children are terminated and waited for.

    Parameters
    ----------
    environment : of the children; None: that of this process.

    Attributes
    ----------
    running : child processes by name.
    stopped : whether the children were told to terminate.
    """

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.environment = environment
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped = False

    def __enter__(self) -> Processes:
        self._previous_handler = signal.signal(signal.SIGTERM, lambda *_: self._terminate())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._terminate()
            for process in self.running.values():
                process.wait()
        finally:
            signal.signal(signal.SIGTERM, self._previous_handler)

    def start(self, name: str, command: list[str], log: Path | None = None) -> None:
        """Start ``command``. Its output is appended to the file ``log``; with None it goes to the terminal.

        Raises
        ------
        click.ClickException
            If the program does not exist.
        """
        try:
            with log.open("ab") if log else nullcontext() as output:
                self.running[name] = subprocess.Popen(command, stdout=output, stderr=output, env=self.environment)
        except OSError as error:
            raise click.ClickException(f"{error.filename or command[0]}: {error.strerror}; see --launch") from None
        if self.stopped:
            self._terminate()

    def next_to_end(self) -> tuple[str, int]:
        """Wait until a process ends; return its name and exit code."""
        while True:
            with suppress(KeyboardInterrupt):
                for name, process in self.running.items():
                    if process.poll() is not None:
                        del self.running[name]
                        return name, process.returncode
                time.sleep(POLL)

    def _terminate(self) -> None:
        self.stopped = True
        for process in self.running.values():
            process.terminate()
