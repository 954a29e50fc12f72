"""The commands that make a manifest of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from training.data.manifest.problems import ManifestError
from training.data.manifest.table import SPLITS
from training.data.manifest.vocabulary import Vocabulary
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
from training.data.readers import corpora
from training.data.readers import datasets as readers

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
            "--test-fold",
            default=default_test_fold,
            show_default=True,
            help=f"Fold that becomes the test split; {readers.NO_FOLD}: all folds are learnt from.",
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
    """The shipped model's set: FOLDER holds esc50/, speech/ and music/.

    The test split is the test fold, and ESC-50's clips that are not free to learn from.
    """
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


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@click.option("--labels", type=FILE, required=True, help="Classes: NAME.labels.csv of the labelled set NAME.csv.")
@click.option(
    "--seconds", type=click.FloatRange(0.96), default=10.0, show_default=True, help="Longer recordings are cut."
)
@on_error_option
def unlabelled(folder: Path, output: Path, labels: Path, seconds: float, on_error: Any) -> None:
    """A folder of recordings of which nobody has said what is heard.

    All of them, at any depth, become training clips without labels (?). To be merged with a labelled set: students
    learn from them what their teachers hear in them; a network without a teacher passes over them.

    \b
    sedkit-train data unlabelled recordings --labels set.labels.csv --output more.csv
    sedkit-train data merge set.csv more.csv --output all.csv
    """
    write(readers.unlabelled(folder, Vocabulary.load(labels), seconds, on_error), output)


audio_option = click.option("--audio", type=FOLDER, required=True, help="Folder of the recordings.")
look_option = click.option(
    "--look/--no-look", default=True, show_default=True, help="Open every file, to find those that cannot be read."
)
small_look_option = click.option(
    "--look/--no-look",
    default=False,
    show_default=True,
    help="Open every file, to find those that cannot be read; packing finds them too.",
)
small_validation_option = click.option(
    "--validation-share", type=SHARE, default=0.01, show_default=True, help="Share of the training clips, by video."
)


def found_beside(labels: Path | None, table: Path, name: str) -> Vocabulary:
    """The classes that ``--labels`` names, or else those published beside a table."""
    path = labels or table.with_name(name)
    if not path.exists():
        raise ManifestError(f"{table}: no {name} beside it; name the classes with --labels")
    return Vocabulary.load(path)


@click.command()
@click.argument("segments", type=FILE, nargs=-1, required=True)
@audio_option
@output_option
@click.option("--labels", type=FILE, help="Classes.  [default: class_labels_indices.csv beside the first table]")
@small_look_option
@on_error_option
@small_validation_option
@seed_option
def audioset(
    segments: tuple[Path, ...],
    audio: Path,
    output: Path,
    labels: Path | None,
    look: bool,
    on_error: Any,
    validation_share: float,
    seed: int,
) -> None:
    """AudioSet, of its tables SEGMENTS (..._segments.csv); those with "eval" in their name are the test split.

    A segment is a file of any depth below --audio called YTID, YYTID, YTID_START or YTID_START_END. Videos
    that are not there are counted.

    \b
    sedkit-train data audioset tables/*_segments.csv --audio clips --output audioset.csv
    """
    vocabulary = found_beside(labels, segments[0], "class_labels_indices.csv")
    splitting = readers.Splitting(None, 0.0, validation_share, seed)
    write(corpora.audioset(audio, segments, vocabulary, splitting, on_error, look), output)


@click.command("audioset-strong")
@click.argument("tables", type=FILE, nargs=-1, required=True)
@audio_option
@output_option
@click.option("--labels", type=FILE, help="Classes.  [default: mid_to_display_name.tsv beside the first table]")
@small_look_option
@on_error_option
@small_validation_option
@seed_option
def audioset_strong(
    tables: tuple[Path, ...],
    audio: Path,
    output: Path,
    labels: Path | None,
    look: bool,
    on_error: Any,
    validation_share: float,
    seed: int,
) -> None:
    """AudioSet's strong labels, TABLES audioset_train_strong.tsv and audioset_eval_strong.tsv, as weak ones.

    With --labels class_labels_indices.csv the classes are AudioSet's 527, and labels beyond them are dropped.
    """
    vocabulary = found_beside(labels, tables[0], "mid_to_display_name.tsv")
    splitting = readers.Splitting(None, 0.0, validation_share, seed)
    write(corpora.audioset_strong(audio, tables, vocabulary, splitting, on_error, look), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@labels_option
@look_option
@on_error_option
def fsd50k(folder: Path, output: Path, labels: Path | None, look: bool, on_error: Any) -> None:
    """FSD50K: FOLDER holds FSD50K.ground_truth, FSD50K.dev_audio and FSD50K.eval_audio.

    With --labels class_labels_indices.csv the classes are AudioSet's, and labels beyond them are dropped.
    """
    write(corpora.fsd50k(folder, vocabulary(labels), on_error, look), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@look_option
@on_error_option
@splitting_options("10")
def urbansound8k(folder: Path, output: Path, look: bool, on_error: Any, splitting: readers.Splitting) -> None:
    """UrbanSound8K: FOLDER holds metadata/ and audio/."""
    write(corpora.urbansound8k(folder, splitting, on_error, look), output)


@click.command()
@click.argument("table", type=FILE)
@audio_option
@output_option
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Of all its clips.")
@click.option("--labels", type=FILE, help="Classes.  [default: DESED's, named as in AudioSet]")
@look_option
@on_error_option
def desed(table: Path, audio: Path, output: Path, split: str, labels: Path | None, look: bool, on_error: Any) -> None:
    """DESED or DCASE task 4: a TABLE of weak or strong labels.

    \b
    sedkit-train data desed metadata/train/weak.tsv --audio audio/train/weak --output weak.csv
    sedkit-train data desed metadata/validation/validation.tsv --audio audio/validation \\
        --split test --output test.csv
    sedkit-train data merge weak.csv test.csv --output desed.csv
    """
    write(corpora.desed(table, audio, split, vocabulary(labels), on_error, look), output)


COMMANDS = (esc50, shipped, plain_csv, folders, unlabelled, audioset, audioset_strong, fsd50k, urbansound8k, desed)
