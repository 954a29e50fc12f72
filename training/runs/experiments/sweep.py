"""Train all runs of a preset, one after the other.

    sedkit-train experiments fig2-left --manifest packed/ --directory runs/audioset
    sedkit-train evaluate report runs/audioset/*

Every run is a training of its own in ``DIRECTORY/PRESET-RUN``. The same command continues where it stopped. Networks
that runs in one directory have in common, such as Teacher-0, are trained once (training.runs.reuse).
"""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from pathlib import Path

import click
from click.core import ParameterSource

from training.runs.experiments.launch import OF_MACHINE, finished, launcher, resumable, train
from training.runs.options import SETTINGS, as_arguments, training
from training.runs.presets import NOT_HELD, Options, PresetError, check, load
from training.runtime.command_line import DURATION
from training.runtime.deadline import Deadline

GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.argument("preset")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--directory", type=click.Path(file_okay=False, path_type=Path), help="Folder for the runs  [default: runs]"
)
@click.option(
    "--seed", "seeds", type=click.IntRange(0), multiple=True, help="Instead of the preset's seeds; repeatable."
)
@click.option("--only", multiple=True, metavar="RUN", help="Train this run of the preset only; repeatable.")
@click.option("--launch", default="python", show_default=True, help='Starts a run: "torchrun --nproc-per-node 8".')
@click.option("--stop-after", type=DURATION, help="Stop in time to be resumed: 540s, 9m, 2h.")
@click.option("--list", "listed", is_flag=True, help="Print the commands instead of running them.")
def main(
    preset: str,
    options: tuple[str, ...],
    directory: Path | None,
    seeds: tuple[int, ...],
    only: tuple[str, ...],
    launch: str,
    stop_after: float | None,
    listed: bool,
) -> None:
    """Train the unfinished runs of PRESET, a name or a FILE.toml.

    OPTIONS are those of sedkit-train secost; they win over the preset's.

    \b
    Examples:
      sedkit-train experiments fig2-left --manifest packed/ --directory runs/audioset
      sedkit-train experiments table2-fixed --manifest set.csv --seed 0 --seed 1 --seed 2
      sedkit-train experiments fig3-right --launch "torchrun --nproc-per-node 8" --manifest packed/
      sedkit-train experiments soundscapes --manifest set/noisy.csv --list
    """
    deadline = Deadline(math.inf if stop_after is None else stop_after)
    place = directory or Path("runs")
    try:
        trainings = {name: merged(own, options) for name, own in chosen(preset, seeds, only).items()}
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


def chosen(name: str, seeds: tuple[int, ...], only: tuple[str, ...]) -> dict[str, Options]:
    """The trainings of a preset by name; ``only`` restricts them."""
    preset = load(name)
    if missing := set(only) - set(preset.runs):
        raise PresetError(f"{name} has no run {', '.join(sorted(missing))}; it has {', '.join(preset.runs) or 'one'}")
    if only:
        preset = replace(preset, runs={run: own for run, own in preset.runs.items() if run in only})
    return dict(preset.trainings(seeds))


def merged(own: Options, given: tuple[str, ...]) -> Options:
    """The options of a run, with those of the command line in place of its own.

    Raises
    ------
    click.UsageError, PresetError
        If an option is unknown or malformed, or belongs to each run.
    """
    check(own, training, SETTINGS)
    with training.make_context("training.secost", list(given), default_map=own) as context:
        made = {name: value for name, value in context.params.items() if context.get_parameter_source(name) in GIVEN}
    if made.keys() & NOT_HELD:
        raise PresetError("leave out --preset, --resume, --run and --set reuse: each run has its own")
    return made


def arguments(run: Path, given: Options) -> list[str]:
    """Arguments of ``training.secost`` that start a run or continue it."""
    where = ["--set", f"reuse={run.parent}"]
    if (run / "config.json").exists():
        machine = {name: given[name] for name in given if name in OF_MACHINE}
        return [*where, "--resume", str(run), *as_arguments(machine)]
    return [*where, "--directory", str(run), *as_arguments(given)]
