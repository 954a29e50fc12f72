"""Make, check and pack manifests: ``python -m training.data --help``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from training.data import read, readers
from training.data.manifest import SPLITS, Manifest
from training.data.options import (
    FILE,
    FOLDER,
    Commands,
    labels_option,
    on_error_option,
    output_option,
    seed_option,
    write,
)
from training.data.store import AudioStore
from training.files import write_json


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Turn a data set into a manifest, the CSV that training reads.

    \b
    python -m training.data folders recordings --output set.csv
    python -m training.data csv clips.csv --labels class_labels_indices.csv --output set.csv
    python -m training.data esc50 ESC-50 --test-fold 5 --output esc50.csv
    python -m training.data merge esc50.csv set.csv --output all.csv
    python -m training.data check all.csv
    """


for command in read.COMMANDS:
    main.add_command(command)


@main.command()
@click.argument("manifests", type=FILE, nargs=-1, required=True)
@output_option
@on_error_option
def merge(manifests: tuple[Path, ...], output: Path, on_error: Any) -> None:
    """One manifest of several."""
    write(readers.merge([Manifest.load(path, None, on_error) for path in manifests], on_error), output)


@main.command()
@click.argument("manifest", type=FILE)
@labels_option
def check(manifest: Path, labels: Path | None) -> None:
    """Say what is in a manifest, and every kind of fault."""
    found = Manifest.load(manifest, labels, "skip").checked("skip", str(manifest))
    click.echo(readers.describe(found))
    if found.dropped:
        raise SystemExit(1)


@main.command()
@click.argument("manifest", type=FILE)
@click.option("--directory", "-d", type=FOLDER, required=True, help="Where decoded audio is kept.")
@labels_option
@on_error_option
def decode(manifest: Path, directory: Path, labels: Path | None, on_error: Any) -> None:
    """Decode every clip of a manifest once.

    A machine that gets a copy of the directory trains without the audio files.
    """
    from training.progress import decoding

    with decoding() as progress:
        store = AudioStore.open_or_build(Manifest.load(manifest, labels, on_error), directory, on_error, progress)
    click.echo(f"{store.folder}: {len(store)} clips, {store.lengths.sum() / 16_000 / 3600:.2f} hours")
    for line in store.manifest.dropped.lines():
        click.echo(f"left out: {line}", err=True)


@main.command()
@click.argument("manifest", type=FILE)
@output_option
@click.option("--drop", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of labels to lose.")
@click.option("--flip", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of labels to mistake.")
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    default=["train"],
    show_default=True,
    help="Where; may be given several times.",
)
@seed_option
@labels_option
def noise(
    manifest: Path, output: Path, drop: float, flip: float, splits: tuple[str, ...], seed: int, labels: Path | None
) -> None:
    """Spoil labels, for experiments on learning from them: some missing, some wrong.

    Every clip keeps at least one label. What was done stands in NAME.noise.json beside NAME.csv.

    \b
    python -m training.data noise set.csv --drop 0.25 --flip 0.05 --output noisy.csv
    """
    from training.data.noise import with_noise

    spoilt, record = with_noise(Manifest.load(manifest, labels), drop, flip, splits, seed)
    write(spoilt, output)
    write_json(output.with_suffix(".noise.json"), record)
    click.echo(
        f"{record['labels_missing']} of {record['labels']} labels missing, {record['labels_wrong']} wrong", err=True
    )


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m training.data"))
