"""What the commands of ``sedkit-train data`` share: options, errors in one line, writing a manifest."""

from __future__ import annotations

from pathlib import Path

import click

from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.datasets import describe

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
PLACE = click.Path(path_type=Path)
SHARE = click.FloatRange(0, 1, max_open=True)


output_option = click.option("--output", "-o", type=FILE, required=True, help="Manifest to write.")
on_error_option = click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At faulty clips (unknown label, missing or unreadable file, ...): stop, or leave them out.",
)
labels_option = click.option(
    "--labels", type=FILE, help="CSV index,mid,display_name of the classes.  [default: the labels that occur]"
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Draws what is left to chance.")


def vocabulary(labels: Path | None) -> Vocabulary | None:
    """The classes that ``--labels`` names, if it was given."""
    return Vocabulary.load(labels) if labels else None


def write(manifest: Manifest, output: Path) -> None:
    """Save a manifest and say what is in it, on standard error."""
    manifest.save(output)
    click.echo(f"{output}: {describe(manifest)}", err=True)
