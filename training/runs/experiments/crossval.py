"""Cross-validation: one cascade per fold, tested on the held-out clips of that fold.

    sedkit-train crossval --esc50 ESC-50 --run runs/cv --stages 4
    sedkit-train evaluate crossval runs/cv

A cross-validation is a directory::

    crossval.json      the folds with their manifests, and the options of every training
    fold-1.csv ...     manifests, if they were made here
    fold-1/ ...        one run per fold (training.secost)

The same command continues where it stopped.
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

from sedkit.errors import SedkitError
from sedkit.inference.installed import names
from training.data.store.source import open_audio
from training.runs.experiments.folds import write_folds
from training.runs.experiments.launch import OF_MACHINE, resumable, train
from training.runs.options import as_arguments, named_on_command_line, training
from training.runs.presets import Options
from training.runs.teacher_files import MODEL
from training.runtime.command_line import DURATION
from training.runtime.deadline import Deadline
from training.runtime.files import write_json
from training.runtime.progress import decoding

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class CrossValidationError(SedkitError):
    """A cross-validation cannot be started, continued or read."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.argument("options", metavar="[TRAINING OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@click.option("--run", "directory", type=click.Path(file_okay=False, path_type=Path), required=True, help="Directory.")
@click.option("--esc50", type=FOLDER, help="ESC-50 with its official folds: a folder with esc50.csv and audio/.")
@click.option("--shipped", type=FOLDER, help="The set of 52 classes: a folder with esc50/, speech/ and music/.")
@click.option("--manifest", "manifests", type=FILE, multiple=True, help="Manifest of one fold, its test split; repeat.")
@click.option(
    "--validation-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of the training clips, by group, with --esc50 and --shipped.",
)
@click.option("--launch", default="python", show_default=True, help='Starts a run: "torchrun --nproc-per-node 8".')
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Folds trained side by side.")
@click.option("--stop-after", type=DURATION, help="Stop in time to be resumed: 540s, 9m, 2h.")
def main(
    options: tuple[str, ...],
    directory: Path,
    esc50: Path | None,
    shipped: Path | None,
    manifests: tuple[Path, ...],
    validation_share: float,
    launch: str,
    jobs: int,
    stop_after: float | None,
) -> None:
    """Train one run per fold, each tested on its held-out fold.

    All other options are those of sedkit-train secost; {fold} in them stands for the name of the fold. Groups (clips of
    one recording) that lie in several folds are left out of training where one of their clips is tested. --launch echo
    writes the manifests of the folds and trains nothing. Several folds at a time (--jobs) make better use of a GPU;
    each then writes its progress into a log beside its run.

    \b
    Examples:
      sedkit-train crossval --esc50 ESC-50 --run runs/cv --stages 4 --epochs 60
      sedkit-train crossval --shipped data --run runs/cv --teacher yamnet=yamnet-{fold}.npz \\
          --stage labels=0.3,0=0.3,yamnet=0.4
      sedkit-train crossval --manifest a.csv --manifest b.csv --manifest c.csv --run runs/cv
    """
    deadline = Deadline(math.inf if stop_after is None else stop_after)
    folder = esc50 or shipped
    if sum(map(bool, (esc50, shipped, manifests))) != 1:
        raise click.UsageError("name the data with one of --esc50, --shipped and --manifest")
    if len(manifests) == 1:
        raise click.UsageError("--manifest: one per fold, at least two")
    given = parse_options(options, installed=bool(folder))
    try:
        if folder:
            folds = write_folds("esc50" if esc50 else "shipped", folder, directory, validation_share)
        else:
            places = (Path(os.path.relpath(path.resolve(), directory.resolve())) for path in manifests)
            folds = {str(number): place for number, place in enumerate(places, start=1)}
        with resumable():
            train_folds(directory, folds, given, launch, deadline, jobs)
    except SedkitError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"finished; sedkit-train evaluate crossval {shlex.quote(str(directory))}", err=True)


def parse_options(options: tuple[str, ...], installed: bool = False) -> Options:
    """The training options that the command line names.

    ``installed`` says whether the installed models were trained on the clips.

    Raises
    ------
    click.UsageError
        If an option is unknown or malformed, belongs to each run, or would leak test clips: one other run or model as
        teacher or warm start of all folds.
    """
    with training.make_context("training.secost", list(options)) as context:
        given = {name: context.params[name] for name in named_on_command_line(context)}
        sources = [context.params["fine_tune"] or "", *context.params["teacher"]]
        given = {name: value for name, value in context.params.items() if name in given}  # in the order of the options
    for text in sources:
        source = text.partition("=")[2] or "-"
        network = Path(source).is_dir() or Path(source).suffix == MODEL or (installed and source in names())
        if "{fold}" not in text and network:
            raise click.UsageError(
                f"{text}: may have been trained on test clips; name a run for each fold: RUNS/fold-{{fold}}"
            )
    if given.keys() & {"resume", "directory"}:
        raise click.UsageError("leave out --resume and --directory; the same command continues where it stopped")
    return given


def train_folds(
    directory: Path, folds: dict[str, Path], given: Options, launch: str, deadline: Deadline, jobs: int = 1
) -> None:
    """Train the unfinished runs of a cross-validation, ``jobs`` at a time.

    ``folds`` maps names to manifests, relative to ``directory``.

    Raises
    ------
    CrossValidationError
        If the directory holds another cross-validation.
    Stopped, click.ClickException, SystemExit
        If not all could be finished (training.runs.experiments.launch).
    """
    claim(directory, folds, given)
    if jobs > 1:  # otherwise every run would decode the clips
        for manifest in folds.values():
            with decoding() as progress:
                open_audio(str(directory / manifest), given.get("vocabulary"), given.get("on_error", "stop"), progress)
    runs = {}
    for fold, manifest in folds.items():
        run = directory / f"fold-{fold}"
        runs[f"fold {fold}"] = run, arguments(run, directory / manifest, given, fold)
    train(runs, launch, deadline, jobs)


def arguments(run: Path, manifest: Path, given: Options, fold: str) -> list[str]:
    """Arguments of ``training.secost`` that start the run of a fold or continue it."""
    begun = (run / "config.json").exists()
    where = ["--resume" if begun else "--directory", str(run), "--manifest", str(manifest)]
    own = as_arguments({name: given[name] for name in given if name in OF_MACHINE or not begun})
    return where + [option.replace("{fold}", fold) for option in own]


def claim(directory: Path, folds: dict[str, Path], given: Options) -> None:
    """Write ``crossval.json``, unless the directory holds the same cross-validation.

    Raises
    ------
    CrossValidationError
        If it holds another one.
    """
    options = as_arguments({name: given[name] for name in given if name not in OF_MACHINE})
    if not (directory / "crossval.json").exists():
        named = {fold: str(path) for fold, path in folds.items()}
        write_json(directory / "crossval.json", {"folds": named, "options": options})
        return
    about = read(directory)
    if about["options"] != options or _places(directory, about["folds"]) != _places(directory, folds):
        raise CrossValidationError(
            f"{directory}: holds a cross-validation with other folds or options; name another --run"
        )


def _places(directory: Path, folds: Mapping[str, Path | str]) -> dict[str, Path]:
    return {fold: (directory / path).resolve() for fold, path in folds.items()}


def read(directory: Path) -> dict[str, Any]:
    """``crossval.json``: ``folds``, name → manifest relative to ``directory``; ``options`` of every training.

    Raises
    ------
    CrossValidationError
        If it is missing or damaged.
    """
    path = directory / "crossval.json"
    try:
        about: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CrossValidationError(f"{path}: {error.strerror}; sedkit-train crossval makes one") from None
    except ValueError as error:
        raise CrossValidationError(f"{path}: is damaged ({error}); remove it, and give the command again") from None
    return about
