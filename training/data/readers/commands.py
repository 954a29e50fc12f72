"""Commands that read a data set and write its manifest: ``sedkit-train data esc50`` and others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from training.data.manifest.problems import ManifestError, OnError
from training.data.manifest.splits import NO_FOLD, Splitting
from training.data.manifest.table import SPLITS
from training.data.manifest.vocabulary import Vocabulary
from training.data.options import (
    FILE,
    FOLDER,
    SHARE,
    labels_option,
    load_vocabulary,
    on_error_option,
    output_option,
    seed_option,
    write_manifest,
)
from training.data.readers import audioset as audioset_reader
from training.data.readers import desed as desed_reader
from training.data.readers import esc50 as esc50_reader
from training.data.readers import folders as folders_reader
from training.data.readers import fsd50k as fsd50k_reader
from training.data.readers import plain_csv as plain_csv_reader
from training.data.readers import shipped as shipped_reader
from training.data.readers import unlabelled as unlabelled_reader
from training.data.readers import urbansound8k as urbansound8k_reader
from training.data.readers import wide as wide_reader

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

audio_option = click.option("--audio", type=FOLDER, required=True, help="Folder of the recordings.")
test_share_option = click.option(
    "--test-share", type=SHARE, default=0.0, show_default=True, help="Share of the clips for the test split, by group."
)


def validation_option(share: float) -> Decorator:
    """``--validation-share`` with a default."""
    return click.option(
        "--validation-share",
        type=SHARE,
        default=share,
        show_default=True,
        help="Share of the training clips for the validation split, by group.",
    )


def look_option(look: bool) -> Decorator:
    """``--look/--no-look`` with a default."""
    return click.option(
        "--look/--no-look",
        default=look,
        show_default=True,
        help="Open every file to find unreadable ones now, rather than when the clips are decoded or packed.",
    )


def splitting_options(default_test_fold: str | None = None) -> Decorator:
    """``--test-fold``, ``--validation-share`` and ``--seed``, passed to the command as one ``splitting``.

    A command that also has ``--test-share`` gets it within ``splitting``. A share beside a fold raises
    :class:`click.UsageError`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def with_splitting(test_fold: str | None, validation_share: float, seed: int, **rest: Any) -> None:
            share = rest.pop("test_share", 0.0)
            if share and test_fold not in (None, NO_FOLD):
                raise click.UsageError(
                    f"--test-share {share:g} has no effect beside --test-fold {test_fold}, which is the test split; "
                    f"leave one out, or use --test-fold {NO_FOLD}"
                )
            command(splitting=Splitting(test_fold, share, validation_share, seed), **rest)

        with_splitting.__doc__ = command.__doc__
        with_splitting.__name__ = command.__name__
        test_fold = click.option(
            "--test-fold",
            default=default_test_fold,
            show_default=True,
            help=f"Fold for the test split; {NO_FOLD}: train on all folds.",
        )
        return test_fold(validation_option(0.1)(seed_option(with_splitting)))

    return decorate


def vocabulary_or_default(labels: Path | None, table: Path, default: str) -> Vocabulary:
    """The classes that ``--labels`` names, or those of the file ``default`` beside ``table``."""
    path = labels or table.with_name(default)
    if not path.exists():
        raise ManifestError(f"{table}: no {default} beside it; name the file of the classes with --labels")
    return Vocabulary.load(path)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@click.option("--licenses", help="Keep only clips under these licences, e.g. CC0,CC-BY.")
@on_error_option
@splitting_options("5")
def esc50(folder: Path, output: Path, licenses: str | None, on_error: OnError, splitting: Splitting) -> None:
    """Read ESC-50. FOLDER holds esc50.csv and audio/.

    The 50 categories get AudioSet's class names.

    \b
    Examples:
      sedkit-train data esc50 ESC-50 --output esc50.csv
      sedkit-train data esc50 ESC-50 --test-fold 1 --licenses CC0,CC-BY --output free.csv
    """
    kept = tuple(name.strip() for name in licenses.split(",")) if licenses else ()
    write_manifest(esc50_reader.esc50(folder, splitting, kept, on_error), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@on_error_option
@splitting_options("5")
def shipped(folder: Path, output: Path, on_error: OnError, splitting: Splitting) -> None:
    """Read the data set of 52 classes. FOLDER holds esc50/, speech/ and music/.

    The test split is the test fold and the ESC-50 clips whose licence excludes training.

    \b
    Examples:
      sedkit-train data shipped DATA --output set.csv
      sedkit-train data shipped DATA --test-fold none --output set.csv
    """
    write_manifest(shipped_reader.shipped(folder, splitting, on_error), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@on_error_option
@splitting_options("5")
def wide(folder: Path, output: Path, on_error: OnError, splitting: Splitting) -> None:
    """Read the wide data set. FOLDER holds esc50/, speech/, music/, more/ and audioset/.

    Clips get the parents of their classes, too. Children of these are unknown, other classes absent. The classes are
    those with at least five sources outside the test split.

    \b
    Example:
      sedkit-train data wide DATA --test-fold none --output wide.csv
    """
    write_manifest(wide_reader.wide(folder, splitting, on_error), output)


@click.command("csv")
@click.argument("table", type=FILE)
@output_option
@labels_option
@click.option("--audio", type=FOLDER, help="Folder that paths are relative to.  [default: the table's folder]")
@on_error_option
@test_share_option
@splitting_options()
def plain_csv(
    table: Path, output: Path, labels: Path | None, audio: Path | None, on_error: OnError, splitting: Splitting
) -> None:
    """Read a CSV file of paths and labels.

    TABLE needs the columns path and labels (several labels are separated by ;). It may have start, duration or end,
    split, fold, group, license and attribution.

    \b
    Examples:
      sedkit-train data csv clips.csv --output set.csv
      sedkit-train data csv clips.csv --audio recordings --labels classes.csv --test-share 0.2 --output set.csv
    """
    manifest = plain_csv_reader.plain_csv(table, splitting, load_vocabulary(labels), audio, on_error)
    write_manifest(manifest, output, table, labels)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@labels_option
@on_error_option
@test_share_option
@validation_option(0.1)
@seed_option
def folders(
    folder: Path,
    output: Path,
    labels: Path | None,
    on_error: OnError,
    test_share: float,
    validation_share: float,
    seed: int,
) -> None:
    """Read a folder of folders, one for each class.

    The name of each folder directly in FOLDER is the class of all audio below it, at any depth.

    \b
    Examples:
      sedkit-train data folders recordings --output set.csv
      sedkit-train data folders recordings --test-share 0.2 --output set.csv
    """
    splitting = Splitting(None, test_share, validation_share, seed)
    write_manifest(folders_reader.folders(folder, splitting, load_vocabulary(labels), on_error), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@click.option("--labels", type=FILE, required=True, help="Classes: NAME.labels.csv of the labelled set NAME.csv.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.96),
    default=10.0,
    show_default=True,
    help="Longer recordings are cut into clips of about this length.",
)
@on_error_option
def unlabelled(folder: Path, output: Path, labels: Path, seconds: float, on_error: OnError) -> None:
    """Read recordings without labels.

    All recordings below FOLDER become training clips with the label ? (unlabelled). Merge them with a labelled set:
    students train on them with soft targets from their teachers; a network without teachers skips them.

    \b
    Examples:
      sedkit-train data unlabelled recordings --labels set.labels.csv --output more.csv
      sedkit-train data merge set.csv more.csv --output all.csv
    """
    write_manifest(unlabelled_reader.unlabelled(folder, Vocabulary.load(labels), seconds, on_error), output)


@click.command()
@click.argument("segments", type=FILE, nargs=-1, required=True)
@audio_option
@output_option
@click.option(
    "--labels", type=FILE, help="CSV file of the classes.  [default: class_labels_indices.csv beside the first table]"
)
@look_option(False)
@on_error_option
@validation_option(0.01)
@seed_option
def audioset(
    segments: tuple[Path, ...],
    audio: Path,
    output: Path,
    labels: Path | None,
    look: bool,
    on_error: OnError,
    validation_share: float,
    seed: int,
) -> None:
    """Read AudioSet's weak labels.

    SEGMENTS are its tables, e.g. balanced_train_segments.csv and eval_segments.csv. Tables with "eval" in their
    name are the test split. The audio of a segment is a file at any depth below --audio named YTID, YYTID,
    YTID_START or YTID_START_END. Segments without a file are counted and left out.

    \b
    Examples:
      sedkit-train data audioset tables/*_segments.csv --audio clips --output audioset.csv
    """
    vocabulary = vocabulary_or_default(labels, segments[0], "class_labels_indices.csv")
    splitting = Splitting(None, 0.0, validation_share, seed)
    manifest = audioset_reader.audioset(audio, segments, vocabulary, splitting, on_error, look)
    write_manifest(manifest, output, *segments, labels)


@click.command("audioset-strong")
@click.argument("tables", type=FILE, nargs=-1, required=True)
@audio_option
@output_option
@click.option(
    "--labels", type=FILE, help="CSV file of the classes.  [default: mid_to_display_name.tsv beside the first table]"
)
@look_option(False)
@on_error_option
@validation_option(0.01)
@seed_option
def audioset_strong(
    tables: tuple[Path, ...],
    audio: Path,
    output: Path,
    labels: Path | None,
    look: bool,
    on_error: OnError,
    validation_share: float,
    seed: int,
) -> None:
    """Read AudioSet's strong labels as weak labels.

    TABLES are audioset_train_strong.tsv and audioset_eval_strong.tsv. A clip gets the labels of its events. Labels
    that are not in --labels are dropped, e.g. those beyond AudioSet's 527 with class_labels_indices.csv.

    \b
    Examples:
      sedkit-train data audioset-strong tables/audioset_*_strong.tsv --audio clips --output strong.csv
    """
    vocabulary = vocabulary_or_default(labels, tables[0], "mid_to_display_name.tsv")
    splitting = Splitting(None, 0.0, validation_share, seed)
    manifest = audioset_reader.audioset_strong(audio, tables, vocabulary, splitting, on_error, look)
    write_manifest(manifest, output, *tables, labels)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@click.option("--labels", type=FILE, help="CSV file of the classes.  [default: FSD50K's 200]")
@look_option(True)
@on_error_option
def fsd50k(folder: Path, output: Path, labels: Path | None, look: bool, on_error: OnError) -> None:
    """Read FSD50K. FOLDER holds FSD50K.ground_truth, FSD50K.dev_audio and FSD50K.eval_audio.

    Labels that are not in --labels are dropped, e.g. with AudioSet's class_labels_indices.csv.

    \b
    Examples:
      sedkit-train data fsd50k FSD50K --output fsd50k.csv
    """
    write_manifest(fsd50k_reader.fsd50k(folder, load_vocabulary(labels), on_error, look), output)


@click.command()
@click.argument("folder", type=FOLDER)
@output_option
@look_option(True)
@on_error_option
@splitting_options("10")
def urbansound8k(folder: Path, output: Path, look: bool, on_error: OnError, splitting: Splitting) -> None:
    """Read UrbanSound8K. FOLDER holds metadata/ and audio/.

    The 10 categories get AudioSet's class names.

    \b
    Examples:
      sedkit-train data urbansound8k UrbanSound8K --output urbansound8k.csv
    """
    write_manifest(urbansound8k_reader.urbansound8k(folder, splitting, on_error, look), output)


@click.command()
@click.argument("table", type=FILE)
@audio_option
@output_option
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Split of all clips.")
@click.option("--labels", type=FILE, help="CSV file of the classes.  [default: DESED's 10, under AudioSet's names]")
@look_option(True)
@on_error_option
def desed(
    table: Path, audio: Path, output: Path, split: str, labels: Path | None, look: bool, on_error: OnError
) -> None:
    """Read a table of DESED or DCASE task 4.

    TABLE holds weak labels (filename, event_labels) or strong labels (filename, onset, offset, event_label).

    \b
    Examples:
      sedkit-train data desed metadata/train/weak.tsv --audio audio/train/weak --output weak.csv
      sedkit-train data desed metadata/validation/validation.tsv --audio audio/validation \\
        --split test --output test.csv
      sedkit-train data merge weak.csv test.csv --output desed.csv
    """
    manifest = desed_reader.desed(table, audio, split, load_vocabulary(labels), on_error, look)
    write_manifest(manifest, output, table, labels)


COMMANDS = (
    esc50,
    shipped,
    wide,
    plain_csv,
    folders,
    unlabelled,
    audioset,
    audioset_strong,
    fsd50k,
    urbansound8k,
    desed,
)
