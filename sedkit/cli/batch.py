"""The run that ``tag`` and ``timeline`` share: every recording in turn, every result written as it comes."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from sedkit.cli.inputs import STDIN, expand, stdin
from sedkit.cli.options import split_classes
from sedkit.cli.output import Output
from sedkit.cli.progress import Progress
from sedkit.errors import ArgumentError, SedkitError
from sedkit.formats import Kind, format_of

if TYPE_CHECKING:
    from sedkit.results import Tagging, Timeline
    from sedkit.session import Device
    from sedkit.tagger import Tagger

    Analyse = Callable[[Tagger, str | BinaryIO, list[str] | None], Tagging | Timeline]


def run(
    kind: Kind,
    analyse: Analyse,
    files: Sequence[str],
    *,
    classes: Sequence[str],
    format_name: str | None,
    output: str | None,
    recursive: bool,
    model: str | None,
    device: Device,
) -> int:
    """Analyse recordings and write what is found; a recording that fails does not stop the others.

    Parameters
    ----------
    kind : what ``analyse`` returns.
    analyse : takes the tagger, a path or standard input, and the chosen classes.
    files : what stands on the command line; nothing means standard input.
    classes, format_name, output, recursive, model, device : the options, as given.

    Returns
    -------
    The exit code: 0, or 1 if something failed, which is listed on standard error at the end.
    """
    output = None if output == "-" else output
    names, problems = expand(files or [STDIN], recursive)
    if STDIN in names:
        stdin()  # is it there?
    failures = [str(problem) for problem in problems]
    if output is not None and any(os.path.realpath(name) == os.path.realpath(output) for name in names):
        raise click.UsageError(f"{output} is one of the recordings; choose another --output.")
    chosen_format = format_name or default_format(output)
    try:
        if names:
            tagger = load(model, device)  # first: a mistyped model must not cost the results of an earlier run
            wanted = split_classes(classes, tagger.model.contract.labels)
            with Output(output, chosen_format, kind, names) as out, Progress(len(names)) as progress:
                for name in names:
                    progress.begin(name)
                    try:
                        result = attempt(analyse, tagger, name, wanted)
                    except ArgumentError:
                        raise
                    except SedkitError as error:
                        failures.append(str(error))
                    else:
                        with progress.hidden():
                            out.write(result)
                    progress.done()
    finally:
        report(failures, total=len(names) + len(problems))
    return 1 if failures else 0


def attempt(analyse: Analyse, tagger: Tagger, name: str, classes: list[str] | None) -> Tagging | Timeline:
    """The result of one recording.

    Raises
    ------
    SedkitError
        If there is none, even by a fault of ours, which must not cost the other recordings.
    """
    try:
        result = analyse(tagger, stdin() if name == STDIN else name, classes)
    except Exception as error:
        if isinstance(error, SedkitError) or "SEDKIT_DEBUG" in os.environ:
            raise
        raise SedkitError(f"{name}: {type(error).__name__}: {error}") from error
    return dataclasses.replace(result, file=name)


def default_format(output: str | None) -> str:
    """What suits the place where results go: text for a person, what the ending says for a file, tsv without one.

    Raises
    ------
    click.UsageError
        If the ending is none that sedkit knows.
    """
    if output is None:
        return "text" if sys.stdout.isatty() else "tsv"
    if not Path(output).suffix:
        return "tsv"
    if (known := format_of(output)) is None:
        raise click.UsageError(f"{output}: no format has the ending {Path(output).suffix}; choose one with --format.")
    return known


def load(model: str | None, device: Device) -> Tagger:
    """The tagger; what it has to say goes to standard error."""
    from sedkit.tagger import Tagger

    tagger = Tagger(model, device)
    if tagger.model.notice:
        click.echo(f"sedkit: {tagger.model.notice}", err=True)
    return tagger


def report(failures: Sequence[str], total: int) -> None:
    """List what failed, on standard error."""
    for failure in failures:
        click.echo(f"sedkit: error: {' '.join(failure.split())}", err=True)
    if failures and total > 1:
        click.echo(f"sedkit: {len(failures)} of {total} failed", err=True)
