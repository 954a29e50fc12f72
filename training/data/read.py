"""The commands that make a manifest of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from training.data import readers
from training.data.options import (
    FILE,
    FOLDER,
    SHARE,
    labels_option,
    on_error_option,
    output_option,
    seed_option,
    vocabulary,
    write,
)

validation_option = click.option(
    "--validation-share", type=SHARE, default=0.1, show_default=True, help="Share of the training clips, by group."
)


def splitting_options(default_test_fold: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that share out the clips; the command gets them as one ``splitting``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_splitting(test_fold: str | None, validation_share: float, seed: int, **rest: Any) -> None:
            share = rest.pop("test_share", 0.0)
            command(splitting=readers.Splitting(test_fold, share, validation_share, seed), **rest)

        with_splitting.__doc__ = command.__doc__
        with_splitting.__name__ = command.__name__
        test_fold = click.option(
            "--test-fold", default=default_test_fold, show_default=True, help="Fold that becomes the test split."
        )
        return test_fold(validation_option(seed_option(with_splitting)))

    return decorate


test_share_option = click.option(
    "--test-share", type=SHARE, default=0.0, show_default=True, help="Share of all clips, by group, for the test split."
)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@click.option("--licenses", help="Keep the clips under these alone, e.g. CC0,CC-BY.")
@on_error_option
@splitting_options("5")
def esc50(folder: Path, output: Path, licenses: str | None, on_error: Any, splitting: readers.Splitting) -> None:
    """ESC-50: FOLDER holds esc50.csv and audio/."""
    kept = tuple(name.strip() for name in licenses.split(",")) if licenses else ()
    write(readers.esc50(folder, splitting, kept, on_error), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@on_error_option
@splitting_options("5")
def shipped(folder: Path, output: Path, on_error: Any, splitting: readers.Splitting) -> None:
    """The shipped model's set: FOLDER holds esc50/, speech/ and music/."""
    write(readers.shipped(folder, splitting, on_error), output)


@click.command("csv")
@click.argument("table", type=FILE)
@output_option
@labels_option
@click.option("--audio", type=FOLDER, help="Folder that the paths count from.  [default: that of the table]")
@on_error_option
@test_share_option
@splitting_options()
def plain_csv(
    table: Path, output: Path, labels: Path | None, audio: Path | None, on_error: Any, splitting: readers.Splitting
) -> None:
    """A CSV of paths and labels (several separated by ;).

    Columns: path, labels and, if present, start, duration, split, fold, group, license, attribution.
    """
    write(readers.plain_csv(table, splitting, vocabulary(labels), audio, on_error), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@labels_option
@on_error_option
@test_share_option
@validation_option
@seed_option
def folders(
    folder: Path,
    output: Path,
    labels: Path | None,
    on_error: Any,
    test_share: float,
    validation_share: float,
    seed: int,
) -> None:
    """A folder of folders, one a class.

    The name of each folder directly in FOLDER is the class of all audio in it, at any depth.
    """
    splitting = readers.Splitting(None, test_share, validation_share, seed)
    write(readers.folders(folder, splitting, vocabulary(labels), on_error), output)


COMMANDS = (esc50, shipped, plain_csv, folders)
