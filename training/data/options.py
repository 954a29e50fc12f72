"""Options and helpers that the commands of ``sedkit-train data`` share."""

from __future__ import annotations

from pathlib import Path

import click

from training.data.manifest.summary import describe
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.runtime.command_line import refuse_to_replace

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE_OR_FOLDER = click.Path(path_type=Path)
SHARE = click.FloatRange(0, 1, max_open=True)


output_option = click.option("--output", "-o", type=FILE, required=True, help="Manifest to write.")
output_folder_option = click.option("--output", "-o", type=FOLDER, required=True, help="Folder to write into.")
on_error_option = click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="Stop at faulty clips (unknown label, missing file, unreadable audio), or skip them.",
)
labels_option = click.option(
    "--labels", type=FILE, help="CSV file of the classes: index,mid,display_name.  [default: the labels that occur]"
)
manifest_labels_option = click.option(
    "--labels", type=FILE, help="CSV file of the classes.  [default: NAME.labels.csv beside NAME.csv]"
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random choices.")


def load_vocabulary(labels: Path | None) -> Vocabulary | None:
    """The classes that ``--labels`` names; None if it was not given."""
    return Vocabulary.load(labels) if labels else None


def write_manifest(manifest: Manifest, output: Path, *read: Path | None) -> None:
    """Save a manifest, unless ``output`` is one of the files ``read``, and print its summary on standard error."""
    refuse_to_replace(output, *read)
    manifest.save(output)
    click.echo(f"{output}: {describe(manifest)}", err=True)
