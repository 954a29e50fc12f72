"""How a training that does not come to its end says so: one line, what is kept, and how to go on."""

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


class Ending:
    """Of a command that works on a run.

    Attributes
    ----------
    directory : of the run; None until it is begun.
    """

    def __init__(self) -> None:
        self.directory: Path | None = None

    def go_on(self) -> str:
        """How to go on with the run."""
        if self.directory is None:
            return "no epoch was trained; give the same command again"
        launch = "python"
        if distributed.ranks() > 1:
            launch = f"torchrun --nproc-per-node {distributed.local_ranks()}"
        return f"go on with: {launch} -m training.secost --resume {shlex.quote(str(self.directory))}"

    @contextmanager
    def in_one_line(self) -> Iterator[None]:
        """What goes wrong inside is said in a line, by the process that knows of it.

        Raises
        ------
        click.ClickException, SystemExit
            With the exit code: 0 after a stop in time, 130 after Ctrl-C, else 1.
        """
        who = f"process {distributed.rank()} of {distributed.ranks()}: " if distributed.rank() else ""
        try:
            yield
        except distributed.Elsewhere:
            raise SystemExit(1) from None
        except SedkitError as error:
            raise click.ClickException(f"{who}{error}") from None
        except torch.OutOfMemoryError:
            raise click.ClickException(
                f"{who}the device has too little memory: {self.go_on()} --accumulate 2, or with a larger number; "
                "or begin a run with a smaller --batch-size, --crop or --width"
            ) from None
        except Stopped:
            self._say(f"stopped in time; {self.go_on()}")
            raise SystemExit(0) from None
        except KeyboardInterrupt:
            self._say(f"interrupted; {self.go_on()}")
            raise SystemExit(130) from None
        except RuntimeError as error:
            if distributed.ranks() == 1 or not distributed.lost(error):
                raise
            raise click.ClickException(f"{who}another process of this run ended; {self.go_on()}") from None

    def say_when_terminated(self) -> None:
        """On SIGTERM, which torchrun sends when one of its processes ended: say so and end, whatever goes on.

        Call it in the main thread. Processes forked later would end this one with themselves; those that are spawned do
        not.
        """
        if distributed.ranks() == 1:
            return
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)  # written to at once, whichever thread a signal comes to, for which a handler is
        signal.signal(signal.SIGTERM, lambda *_: None)  # there; that waits for the main thread, which waits for others

        def wait() -> None:
            while signal.SIGTERM not in os.read(reading, 1):
                pass
            self._say(f"terminated, as torchrun does when another process of the run ends; {self.go_on()}")
            sys.stderr.flush()
            os._exit(128 + signal.SIGTERM)

        threading.Thread(target=wait, daemon=True).start()

    @staticmethod
    def _say(text: str) -> None:
        if distributed.rank() == 0:
            click.echo(text, err=True)
