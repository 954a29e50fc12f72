"""The action ``run``: a command that gets the alert as JSON on its standard input. No shell is involved."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence

from sedkit.alerts.alert import Alert
from sedkit.alerts.sink import QueuedSink, SinkError

TIMEOUT = 30.0  # seconds


class Command(QueuedSink[Alert]):
    """Runs a command for each alert, one at a time.

    Parameters
    ----------
    name, on_notice : as for :class:`Sink`.
    arguments : program and arguments.
    timeout : seconds after which the command is killed.
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
            done = subprocess.run(
                self.arguments,
                input=record,
                stdout=subprocess.DEVNULL,  # standard output is that of the records
                stderr=subprocess.PIPE,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SinkError(f"{self.arguments[0]} took more than {self.timeout:g} s and was killed") from None
        except OSError as error:
            raise SinkError(f"{self.arguments[0]} cannot be run ({error.strerror})") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            said = f": {last[:200]}" if last else ""
            raise SinkError(f"{self.arguments[0]} ended with exit code {done.returncode}{said}")
