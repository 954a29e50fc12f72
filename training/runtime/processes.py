"""Trainings that go on side by side, each a process of its own."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import click

LOOK = 0.1  # seconds between two looks at who has ended


class Processes:
    """Trainings that go on. Ctrl-C reaches them first, and they say how they end; SIGTERM is passed on to them."""

    def __init__(self) -> None:
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.stopped = False  # by SIGTERM

    def __enter__(self) -> Processes:
        self._before = signal.signal(signal.SIGTERM, lambda *_: self._terminate())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._terminate()  # none goes on by itself, if this ended by an error
            for process in self.running.values():
                process.wait()
        finally:
            signal.signal(signal.SIGTERM, self._before)

    def start(self, name: str, command: list[str], log: Path | None = None) -> None:
        """Start ``command``. ``log``: the file that what it says is added to; None: it says it here.

        Raises
        ------
        click.ClickException
            If there is no such program.
        """
        try:
            with log.open("ab") if log else nullcontext() as said:
                self.running[name] = subprocess.Popen(command, stdout=said, stderr=said)
        except OSError as error:
            raise click.ClickException(f"{error.filename or command[0]}: {error.strerror}; see --launch") from None
        if self.stopped:
            self._terminate()

    def next_to_end(self) -> tuple[str, int]:
        """Name and exit code of the first that ends."""
        while True:
            with suppress(KeyboardInterrupt):
                for name, process in self.running.items():
                    if process.poll() is not None:
                        del self.running[name]
                        return name, process.returncode
                time.sleep(LOOK)

    def _terminate(self) -> None:
        self.stopped = True
        for process in self.running.values():
            process.terminate()
