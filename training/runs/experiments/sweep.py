"""Experiments of several trainings: the runs of a preset, one after the other.

    sedkit-train experiments fig2-left --manifest packed/ --directory runs/audioset
    sedkit-train evaluate report runs/audioset/*

Every run is a ``python -m training.secost`` of its own in ``DIRECTORY/PRESET-RUN``. The same command given again goes
on where it was. Networks that runs in one directory have in common, such as Teacher-0, are trained once
(training.runs.reuse).
"""

from __future__ import annotations

import math
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from training.runtime.deadline import Deadline, Stopped
from training.runs.options import ON_RESUME, seconds, training
from training.runs.presets import NOT_HELD, Options, PresetError, check, load
from training.runtime.processes import Processes
from training.runs.config import RunError, fine_tuned

GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
OF_MACHINE = (ON_RESUME - {"name"}) | {"device"}
STOPPED = {-signal.SIGINT, 128 + signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM}  # exit codes


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.argument("preset")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Of the runs  [default: runs].")
@click.option(
    "--seed", "seeds", type=click.IntRange(0), multiple=True, help="In place of the preset's; may come again."
)
@click.option("--only", multiple=True, metavar="RUN", help="This run of the preset; may come again.")
@click.option("--launch", default="python", show_default=True, help='Starts a run: "torchrun --nproc-per-node 8".')
@click.option("--stop-after", help="End in good time before this, resumable: 540s, 9m, 2h.")
@click.option("--list", "listed", is_flag=True, help="Say what would be run, and run nothing.")
def main(
    preset: str,
    options: tuple[str, ...],
    directory: Path | None,
    seeds: tuple[int, ...],
    only: tuple[str, ...],
    launch: str,
    stop_after: str | None,
    listed: bool,
) -> None:
    """Train the runs of PRESET, a name or a FILE.toml, that are not finished.

    OPTIONS are those of training.secost, and win over the preset's.

    \b
    Examples:
      sedkit-train experiments fig2-left --manifest packed/ --directory runs/audioset
      sedkit-train experiments table2-fixed --manifest set.csv --seed 0 --seed 1 --seed 2
      sedkit-train experiments fig3-right --launch "torchrun --nproc-per-node 8" --manifest packed/
      sedkit-train experiments soundscapes --manifest set/noisy.csv --list
    """
    deadline = Deadline(seconds(stop_after) if stop_after else math.inf)
    place = directory or Path("runs")
    try:
        trainings = {name: merged(own, options) for name, own in wanted(preset, seeds, only).items()}
    except PresetError as error:
        raise click.ClickException(str(error)) from None
    runs = {name: (place / name, arguments(place / name, given)) for name, given in trainings.items()}
    if listed:
        for name, (run, own) in runs.items():
            click.echo(f"{name}: {'finished' if finished(run) else shlex.join([*launcher(launch), *own])}")
    else:
        with resumable():
            train(runs, launch, deadline)
        click.echo(f"finished; sedkit-train evaluate report {shlex.quote(str(place))}/*", err=True)


@contextmanager
def resumable() -> Iterator[None]:
    """Of a command that goes on where it was: when the time is over inside, it says so and ends."""
    try:
        yield
    except Stopped:
        click.echo("stopped in time; give the same command again to go on", err=True)
        raise SystemExit(0) from None


def train(runs: dict[str, tuple[Path, list[str]]], launch: str, deadline: Deadline, jobs: int = 1) -> None:
    """Train what is not finished of ``runs``, name → directory and arguments of training.secost, ``jobs`` at a time.

    Raises
    ------
    Stopped
        If the time was over.
    click.ClickException
        If some could not be finished; the others are then.
    SystemExit
        If one was interrupted.
    """
    waiting = {}
    for name, (run, own) in runs.items():
        if finished(run):
            click.echo(f"{name}: finished", err=True)
        else:
            waiting[name] = own
    codes = {}
    with Processes() as processes:
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
                    click.echo(f"{name}: says how it goes in {log}", err=True)
                processes.start(name, command, log)
            name, code = processes.next_to_end()
            codes[name] = code
            if code in STOPPED or processes.stopped or (code == 0 and not finished(runs[name][0])):
                waiting.clear()  # interrupted, or the time is over
    if stopped := set(codes.values()) & STOPPED:
        raise SystemExit(128 + abs(stopped.pop()) % 128)
    if failed := [f"{name} (exit code {code})" for name, code in codes.items() if code]:
        raise click.ClickException(
            f"not finished: {', '.join(failed)}; what each said stands {'in their logs' if jobs > 1 else 'above'}"
        )
    if not all(finished(run) for run, _ in runs.values()):
        raise Stopped


def finished(run: Path) -> bool:
    """Has the training in this directory come to its end?"""
    if (run / "model.onnx").exists():
        return True
    with suppress(RunError):  # which the training will tell
        return (run / "report.md").exists() and fine_tuned(run)  # and is not exported
    return False


def wanted(preset: str, seeds: tuple[int, ...], only: tuple[str, ...]) -> dict[str, Options]:
    """The trainings of a preset by name, without those that are not asked for."""
    found = load(preset)
    if missing := set(only) - set(found.runs):
        raise PresetError(f"{preset} has no run {', '.join(sorted(missing))}; it has {', '.join(found.runs) or 'one'}")
    if only:
        found = replace(found, runs={name: own for name, own in found.runs.items() if name in only})
    return dict(found.trainings(seeds))


def merged(own: Options, given: tuple[str, ...]) -> Options:
    """Options of a run, the command line's before its own, as training.secost understands them.

    Raises
    ------
    click.UsageError, PresetError
        If it does not.
    """
    check(own, training)
    with training.make_context("training.secost", list(given), default_map=own) as context:
        made = {name: value for name, value in context.params.items() if context.get_parameter_source(name) in GIVEN}
    if made.keys() & NOT_HELD:
        raise PresetError("leave out --preset, --resume, --run and --reuse: each run has its own")
    return made


def arguments(run: Path, given: Options) -> list[str]:
    """Of training.secost, to begin a run or to go on with it."""
    where = ["--reuse", str(run.parent)]
    if (run / "config.json").exists():
        return [*where, "--resume", str(run), *flags({name: given[name] for name in given if name in OF_MACHINE})]
    return [*where, "--directory", str(run), *flags(given)]


def flags(given: Options) -> list[str]:
    """Options as they are written on a command line."""
    names = {parameter.name: parameter.opts[0] for parameter in training.params}
    made: list[str] = []
    for name, value in given.items():
        if isinstance(value, bool):
            made += [names[name]] * value
        else:
            values: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
            for one in values:
                made += [names[name], ",".join(map(str, one)) if isinstance(one, list) else str(one)]
    return made


def launcher(launch: str) -> list[str]:
    """The command that starts a training, on this interpreter."""
    program, *rest = shlex.split(launch)
    if program == "python":
        return [sys.executable, *rest, "-m", "training.secost"]
    return [program, *rest, "-m", "training.secost"]
