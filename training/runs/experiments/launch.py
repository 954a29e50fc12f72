"""Start trainings as processes of their own, and continue those that are not finished."""

from __future__ import annotations

import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

import training
from training.runs.config import RunError, is_backbone
from training.runs.options import ON_RESUME
from training.runtime.deadline import Deadline, Stopped
from training.runtime.processes import Processes

OF_MACHINE = (ON_RESUME - {"name"}) | {"device"}  # options that do not decide the result
STOPPED = {-signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM}  # exit codes


@contextmanager
def resumable() -> Iterator[None]:
    """If the time is over, say that the same command continues, and exit with 0."""
    try:
        yield
    except Stopped:
        click.echo("stopped in time; give the same command again to continue", err=True)
        raise SystemExit(0) from None


def train(runs: dict[str, tuple[Path, list[str]]], launch: str, deadline: Deadline, jobs: int = 1) -> None:
    """Train the unfinished ones of ``runs``, ``jobs`` at a time.

    Parameters
    ----------
    runs : name → run directory and arguments of ``training.secost``.
    launch : command that starts a training (:func:`launcher`).

    Raises
    ------
    Stopped
        If the deadline came first.
    click.ClickException
        If a training failed; the others are finished first.
    SystemExit
        If a training was interrupted.
    """
    waiting = {}
    for name, (run, arguments) in runs.items():
        if finished(run):
            click.echo(f"{name}: finished", err=True)
        else:
            waiting[name] = arguments
    codes = {}
    with Processes(_environment()) as processes:
        while waiting or processes.running:
            while waiting and len(processes.running) < jobs:
                name = next(iter(waiting))
                left = max(0.0, deadline.at - time.monotonic())
                limit = [] if math.isinf(left) else ["--stop-after", f"{left:.0f}s"]
                command = [*launcher(launch), *waiting.pop(name), *limit]
                click.echo(f"{name}: {shlex.join(command)}", err=True)
                log = runs[name][0].with_suffix(".log") if jobs > 1 else None
                if log:
                    log.parent.mkdir(parents=True, exist_ok=True)
                    click.echo(f"{name}: progress is in {log}", err=True)
                processes.start(name, command, log)
            name, code = processes.next_to_end()
            codes[name] = code
            if code in STOPPED or processes.stopped or (code == 0 and not finished(runs[name][0])):
                waiting.clear()  # interrupted, or the time is over
    if stopped := set(codes.values()) & STOPPED:
        raise SystemExit(128 + abs(stopped.pop()) % 128)
    if failed := [f"{name} (exit code {code})" for name, code in codes.items() if code]:
        raise click.ClickException(
            f"not finished: {', '.join(failed)}; their errors are {'in their logs' if jobs > 1 else 'above'}"
        )
    if not all(finished(run) for run, _ in runs.values()):
        raise Stopped


def finished(run: Path) -> bool:
    """Whether the training in this directory is finished."""
    if (run / "model.onnx").exists():
        return True
    with suppress(RunError):  # which the training will report
        return (run / "report.md").exists() and is_backbone(run)  # pretrained backbones are not exported
    return False


def launcher(launch: str) -> list[str]:
    """The command that starts a training, on this interpreter where ``launch`` is ``python ...``."""
    program, *rest = shlex.split(launch)
    if program == "python":
        return [sys.executable, *rest, "-m", "training.secost"]
    return [program, *rest, "-m", "training.secost"]


def _environment() -> dict[str, str]:
    """An environment in which ``-m training.secost`` is this package, whatever folder the command runs in."""
    package = str(Path(training.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
