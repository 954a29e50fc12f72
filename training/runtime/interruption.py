"""How a command that does not finish ends: one line that names the cause and how to resume, and an exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from sedkit.errors import SedkitError
from training.runtime import distributed
from training.runtime.deadline import Stopped


class ExitReporter:
    """Reports errors and interruptions of a command that works on a run.

    Attributes
    ----------
    directory : the run directory; None until the run exists.
    """

    def __init__(self) -> None:
        self.directory: Path | None = None

    def resume_hint(self) -> str:
        """The command that resumes the run."""
        if self.directory is None:
            return "no epoch was trained; run the same command again"
        command = "sedkit-train secost"
        if distributed.world_size() > 1:
            command = f"torchrun --nproc-per-node {distributed.local_world_size()} -m training.secost"
        return f"resume with: {command} --resume {shlex.quote(str(self.directory))}"

    @contextmanager
    def report_errors(self) -> Iterator[None]:
        """Turn exceptions of the block into one line and an exit code.

        Of several processes, the one that knows the cause prints the line.

        Raises
        ------
        click.ClickException, SystemExit
            With exit code 0 after the time limit, 130 after Ctrl-C, else 1.
        """
        who = f"process {distributed.rank()} of {distributed.world_size()}: " if distributed.rank() else ""
        try:
            yield
        except distributed.FailedOnRank0:
            raise SystemExit(1) from None
        except SedkitError as error:
            raise click.ClickException(f"{who}{error}") from None
        except torch.OutOfMemoryError:
            raise click.ClickException(
                f"{who}out of device memory; {self.resume_hint()} --set accumulate=2 (or more), "
                "or start a new run with a smaller --batch-size, --crop or --width"
            ) from None
        except Stopped:
            self._print(f"stopped in time; {self.resume_hint()}")
            raise SystemExit(0) from None
        except KeyboardInterrupt:
            self._print(f"interrupted; {self.resume_hint()}")
            raise SystemExit(130) from None
        except RuntimeError as error:
            if distributed.world_size() == 1 or not distributed.is_connection_error(error):
                raise
            raise click.ClickException(f"{who}another process of this run ended; {self.resume_hint()}") from None

    def report_sigterm(self) -> None:
        """On SIGTERM, which torchrun sends when one of its processes ends, print a line and exit at once.

        Call this in the main thread, in a run of several processes; otherwise it does nothing. Processes that are
        spawned later are not affected. Processes that are forked later would end this one when they get SIGTERM.
        """
        if distributed.world_size() == 1:
            return
        # Python runs signal handlers in the main thread, which may be blocked in a collective operation. The wake-up
        # file descriptor is written to at once, provided that the signal has a Python handler.
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGTERM, lambda *_: None)

        def wait() -> None:
            while signal.SIGTERM not in os.read(reading, 1):
                pass
            self._print(f"terminated, as torchrun does when another process of the run ends; {self.resume_hint()}")
            sys.stderr.flush()
            os._exit(128 + signal.SIGTERM)

        threading.Thread(target=wait, daemon=True).start()

    @staticmethod
    def _print(text: str) -> None:
        if distributed.rank() == 0:
            click.echo(text, err=True)
