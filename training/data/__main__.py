"""Make, check and decode manifests: ``python -m training.data --help``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sedkit.errors import SedkitError
from training.data import readers
from training.data.manifest import Manifest
from training.data.store import AudioStore
from training.data.vocabulary import Vocabulary

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
SHARE = click.FloatRange(0, 1, max_open=True)


class Commands(click.Group):
    """Reports what sedkit raises on purpose as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SedkitError as error:
            raise click.ClickException(str(error)) from None


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
validation_option = click.option(
    "--validation-share", type=SHARE, default=0.1, show_default=True, help="Share of the training clips, by group."
)
seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Draws the groups of the shares.")


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


@main.command()
@click.argument("folder", type=FOLDER)
@output_option
@click.option("--licenses", help="Keep the clips under these alone, e.g. CC0,CC-BY.")
@on_error_option
@splitting_options("5")
def esc50(folder: Path, output: Path, licenses: str | None, on_error: Any, splitting: readers.Splitting) -> None:
    """ESC-50: FOLDER holds esc50.csv and audio/."""
    kept = tuple(name.strip() for name in licenses.split(",")) if licenses else ()
    write(readers.esc50(folder, splitting, kept, on_error), output)


@main.command()
@click.argument("folder", type=FOLDER)
@output_option
@on_error_option
@splitting_options("5")
def shipped(folder: Path, output: Path, on_error: Any, splitting: readers.Splitting) -> None:
    """The shipped model's set: FOLDER holds esc50/, speech/ and music/."""
    write(readers.shipped(folder, splitting, on_error), output)


@main.command("csv")
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


@main.command()
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


def vocabulary(labels: Path | None) -> Vocabulary | None:
    """The classes that ``--labels`` names, if it was given."""
    return Vocabulary.load(labels) if labels else None


def write(manifest: Manifest, output: Path) -> None:
    """Save a manifest and say what is in it, on standard error."""
    manifest.save(output)
    click.echo(f"{output}: {readers.describe(manifest)}", err=True)


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m training.data"))
