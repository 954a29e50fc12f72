"""Cross-validation: one cascade a fold, tested on the clips of that fold, which it never heard.

    sedkit-train crossval --esc50 ESC-50 --run runs/cv --stages 4
    sedkit-train evaluate crossval runs/cv

A cross-validation is a directory::

    crossval.json      the folds with their manifests, and the options of every training
    fold-1.csv ...     manifests, where they were made here
    fold-1/ ...        one run a fold (training.secost)

The same command given again goes on where it was.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sedkit.errors import SedkitError
from sedkit.inference.installed import names
from training.runs.teacher_files import MODEL
from training.data.store.source import open_audio
from training.runtime.deadline import Deadline
from training.runs.experiments.sweep import OF_MACHINE, flags, resumable, train
from training.runtime.files import write_json
from training.runs.experiments.folds import write_folds
from training.runs.options import seconds, training
from training.runs.presets import Options
from training.runtime.progress import decoding

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class CrossValidationError(SedkitError):
    """A cross-validation cannot be begun, gone on with or read."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.argument("options", metavar="[TRAINING OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.option("--run", "directory", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory.")
@click.option("--esc50", type=FOLDER, help="ESC-50 with its official folds: a folder with esc50.csv and audio/.")
@click.option("--shipped", type=FOLDER, help="The shipped model's set: a folder with esc50/, speech/ and music/.")
@click.option("--manifest", "manifests", type=FILE, multiple=True, help="Of one fold, its test split; once a fold.")
@click.option(
    "--validation-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Of the clips learnt from, by group, with --esc50 and --shipped.",
)
@click.option("--launch", default="python", show_default=True, help='Starts a run: "torchrun --nproc-per-node 8".')
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Folds trained side by side.")
@click.option("--stop-after", help="End in good time before this, resumable: 540s, 9m, 2h.")
def main(
    options: tuple[str, ...],
    directory: Path,
    esc50: Path | None,
    shipped: Path | None,
    manifests: tuple[Path, ...],
    validation_share: float,
    launch: str,
    jobs: int,
    stop_after: str | None,
) -> None:
    """Train one run a fold, each tested on the fold that it did not learn from.

    All other options are those of training.secost, whose --help lists them; {fold} in them stands for the name of the
    fold. Groups (clips of one recording) that lie in several folds are not learnt from where one of their clips is
    tested on. --launch echo writes the manifests of the folds and trains nothing. Several folds at a time (--jobs) make
    better use of a GPU; each then writes how it goes into a file beside its run.

    \b
    Examples:
      sedkit-train crossval --esc50 ESC-50 --run runs/cv --stages 4 --epochs 60
      sedkit-train crossval --shipped data --run runs/cv --teacher yamnet=yamnet-{fold}.npz \\
          --stage labels=0.3,0=0.3,yamnet=0.4
      sedkit-train crossval --manifest a.csv --manifest b.csv --manifest c.csv --run runs/cv
    """
    deadline = Deadline(seconds(stop_after) if stop_after else math.inf)
    if sum(map(bool, (esc50, shipped, manifests))) != 1:
        raise click.UsageError("name the data with one of --esc50, --shipped and --manifest")
    if len(manifests) == 1:
        raise click.UsageError("--manifest comes once a fold, at least twice")
    given = understood(options, installed=bool(esc50 or shipped))
    try:
        if esc50 or shipped:
            folds = write_folds("esc50" if esc50 else "shipped", esc50 or shipped, directory, validation_share)
        else:
            places = (Path(os.path.relpath(path.resolve(), directory.resolve())) for path in manifests)
            folds = {str(number): place for number, place in enumerate(places, start=1)}
        with resumable():
            train_folds(directory, folds, given, launch, deadline, jobs)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"finished; sedkit-train evaluate crossval {shlex.quote(str(directory))}", err=True)


def understood(options: tuple[str, ...], installed: bool = False) -> Options:
    """The options as training.secost understands them, those that were given alone.

    ``installed``: have the installed models learnt from the clips?

    Raises
    ------
    click.UsageError
        If it does not, they are each run's own, or all folds would learn from one other run or model.
    """
    with training.make_context("training.secost", list(options)) as context:
        written = [name for name in context.params if context.get_parameter_source(name) == ParameterSource.COMMANDLINE]
        given = {name: context.params[name] for name in written}
        runs = [context.params["fine_tune"] or "", *context.params["teacher"]]
    for text in runs:
        source = text.partition("=")[2] or "-"
        network = Path(source).is_dir() or Path(source).suffix == MODEL or (installed and source in names())
        if "{fold}" not in text and network:
            raise click.UsageError(
                f"{text}: may have heard what is tested on; name a run for each fold: RUNS/fold-{{fold}}"
            )
    if given.keys() & {"resume", "directory"}:
        raise click.UsageError("leave out --resume and --directory; the same command again goes on where it was")
    return given


def train_folds(
    directory: Path, folds: dict[str, Path], given: Options, launch: str, deadline: Deadline, jobs: int = 1
) -> None:
    """Train the runs of a cross-validation that are not finished, ``jobs`` at a time.

    ``folds``: name → manifest, from ``directory``.

    Raises
    ------
    CrossValidationError
        If another cross-validation is there.
    Stopped, click.ClickException, SystemExit
        If not all could be finished (training.runs.experiments.sweep.train).
    """
    claim(directory, folds, given)
    if jobs > 1:  # else each of them would decode the clips
        for manifest in folds.values():
            with decoding() as progress:
                open_audio(str(directory / manifest), given.get("vocabulary"), given.get("on_error", "stop"), progress)
    runs = {}
    for fold, manifest in folds.items():
        run = directory / f"fold-{fold}"
        runs[f"fold {fold}"] = run, arguments(run, directory / manifest, given, fold)
    train(runs, launch, deadline, jobs)


def arguments(run: Path, manifest: Path, given: Options, fold: str) -> list[str]:
    """Of training.secost, to begin the run of a fold or to go on with it."""
    begun = (run / "config.json").exists()
    where = ["--resume" if begun else "--directory", str(run), "--manifest", str(manifest)]
    own = flags({name: given[name] for name in given if name in OF_MACHINE or not begun})
    return where + [option.replace("{fold}", fold) for option in own]


def claim(directory: Path, folds: dict[str, Path], given: Options, write: bool = True) -> None:
    """Write ``crossval.json``, unless it is there and the same; or see only whether that could be done.

    Raises
    ------
    CrossValidationError
        If another cross-validation is there.
    """
    options = flags({name: given[name] for name in given if name not in OF_MACHINE})
    if not (directory / "crossval.json").exists():
        if write:
            named = {fold: str(path) for fold, path in folds.items()}
            write_json(directory / "crossval.json", {"folds": named, "options": options})
        return
    about = read(directory)
    if about["options"] != options or _places(directory, about["folds"]) != _places(directory, folds):
        raise CrossValidationError(
            f"{directory}: holds a cross-validation of other folds or with other options; name another --run"
        )


def _places(directory: Path, folds: Mapping[str, Path | str]) -> dict[str, Path]:
    return {fold: (directory / path).resolve() for fold, path in folds.items()}


def read(directory: Path) -> dict[str, Any]:
    """``crossval.json``: ``folds``, name → manifest, from ``directory``; ``options`` of every training.

    Raises
    ------
    CrossValidationError
        If there is none, or it cannot be read.
    """
    path = directory / "crossval.json"
    try:
        about: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CrossValidationError(f"{path}: {error.strerror}; sedkit-train crossval makes one") from None
    except ValueError as error:
        raise CrossValidationError(f"{path}: is damaged ({error}); remove it, and give the command again") from None
    return about
