"""Commands that make data sets from others: label noise, soundscapes and negative recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from training.data.augment import negatives as negative_set
from training.data.augment import soundscape_set
from training.data.augment.label_noise import with_noise
from training.data.augment.soundscapes import Recipe
from training.data.manifest.problems import OnError
from training.data.manifest.summary import describe
from training.data.manifest.table import SPLITS, Manifest
from training.data.options import (
    FILE,
    FILE_OR_FOLDER,
    manifest_labels_option,
    on_error_option,
    output_folder_option,
    output_option,
    seed_option,
    write_manifest,
)
from training.data.store.source import open_audio
from training.runtime.command_line import refuse_to_replace
from training.runtime.files import write_json
from training.runtime.progress import decoding


@click.command()
@click.argument("manifest", type=FILE)
@output_option
@click.option("--drop", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of labels to remove.")
@click.option("--flip", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Share of labels to replace.")
@click.option(
    "--split",
    "splits",
    type=click.Choice(SPLITS),
    multiple=True,
    default=["train"],
    show_default=True,
    help="Split to change; may be given several times.",
)
@seed_option
@manifest_labels_option
def noise(
    manifest: Path, output: Path, drop: float, flip: float, splits: tuple[str, ...], seed: int, labels: Path | None
) -> None:
    """Add label noise to a manifest, for experiments.

    Removes some labels and replaces others by a random class. Every clip keeps at least one label. NAME.noise.json
    beside NAME.csv records the settings and the changes.

    \b
    Examples:
      sedkit-train data noise set.csv --drop 0.25 --flip 0.05 --output noisy.csv
    """
    noisy, record = with_noise(Manifest.load(manifest, labels), drop, flip, splits, seed)
    write_manifest(noisy, output, manifest, labels)
    write_json(output.with_suffix(".noise.json"), record)
    click.echo(
        f"{record['labels_missing']} of {record['labels']} labels missing, {record['labels_wrong']} wrong", err=True
    )


@click.command()
@click.argument("manifest", type=FILE_OR_FOLDER)
@output_folder_option
@click.option("--count", type=click.IntRange(1), required=True, help="Number of soundscapes.", metavar="N")
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Length of a soundscape.")
@click.option(
    "--events",
    type=click.IntRange(1),
    nargs=2,
    default=(1, 5),
    show_default=True,
    help="Minimum and maximum number of events.",
)
@click.option(
    "--longest", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Maximum length of an event, in s."
)
@click.option("--overlap", type=click.IntRange(1), default=2, show_default=True, help="Maximum simultaneous events.")
@click.option(
    "--snr",
    type=float,
    nargs=2,
    default=(3.0, 25.0),
    show_default=True,
    help="Minimum and maximum level of an event above the background, in dB.",
)
@click.option(
    "--level",
    type=float,
    nargs=2,
    default=(-50.0, -30.0),
    show_default=True,
    help="Minimum and maximum level of the background, in dBFS.",
)
@click.option(
    "--background",
    "backgrounds",
    multiple=True,
    metavar="CLASS",
    help="Class whose clips are the background of half of the soundscapes; may be given several times.  "
    "[default: noise only]",
)
@click.option(
    "--bouts",
    type=click.IntRange(0),
    nargs=2,
    default=(0, 0),
    show_default=True,
    help="Minimum and maximum number of bouts, in which one clip sounds again and again for up to half the soundscape.",
)
@click.option("--split", type=click.Choice(SPLITS), help="Use only clips of this split.  [default: all splits]")
@seed_option
@manifest_labels_option
@on_error_option
def soundscapes(
    manifest: Path,
    output: Path,
    count: int,
    seconds: float,
    events: tuple[int, int],
    longest: float,
    overlap: int,
    snr: tuple[float, float],
    level: tuple[float, float],
    backgrounds: tuple[str, ...],
    bouts: tuple[int, int],
    split: str | None,
    seed: int,
    labels: Path | None,
    on_error: OnError,
) -> None:
    """Mix labelled clips into soundscapes with strong labels.

    The sounding parts of clips with one label are placed at random times and levels over noise or a background clip.
    Writes audio, a manifest with weak labels, and strong labels as TSV. A soundscape mixes clips of one split only.

    \b
    Examples:
      sedkit-train data soundscapes esc50.csv --count 10000 --output scapes
      sedkit-train data soundscapes esc50.csv --split test --count 400 --output mixtures
      sedkit-train data soundscapes esc50.csv --count 10 --seconds 600 --bouts 8 16 --output field
      sedkit-train data noise scapes/manifest.csv --drop 0.25 --output scapes/noisy.csv
    """
    recipe = Recipe(seconds, _ordered(events), longest, overlap, _ordered(snr), _ordered(level), bouts=_ordered(bouts))
    with decoding() as progress:
        audio = open_audio(manifest, labels, on_error, progress)
        made = soundscape_set.build(audio, output, count, recipe, backgrounds, seed, split, progress)
    click.echo(f"{output}: {describe(made)}", err=True)


@click.command()
@click.argument("manifest", type=FILE)
@output_folder_option
@click.option("--count", type=click.IntRange(1), required=True, help="Number of recordings.", metavar="N")
@click.option("--tones", type=click.IntRange(0), default=0, show_default=True, help="How many are tones, not noise.")
@click.option("--hums", type=click.IntRange(0), default=0, show_default=True, help="How many are mains hum alone.")
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Length of a recording.")
@click.option(
    "--level",
    type=float,
    nargs=2,
    default=(-75.0, -15.0),
    show_default=True,
    help="Minimum and maximum level, in dBFS.",
)
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Split of the recordings.")
@seed_option
@manifest_labels_option
def negatives(
    manifest: Path,
    output: Path,
    count: int,
    tones: int,
    hums: int,
    seconds: float,
    level: tuple[float, float],
    split: str,
    seed: int,
    labels: Path | None,
) -> None:
    """Make recordings of noise, hum and tones, labelled as no class.

    Their classes are those of MANIFEST. Merge them with that manifest: they teach a network to give low scores to
    microphone noise. A few per cent of the training clips are enough.

    \b
    Examples:
      sedkit-train data negatives set.csv --count 100 --output noise
      sedkit-train data negatives set.csv --count 200 --tones 80 --hums 20 --output noise
      sedkit-train data merge set.csv noise/manifest.csv --output all.csv
    """
    if tones + hums > count:
        raise click.UsageError(f"--tones {tones} and --hums {hums} are more than --count {count}")
    refuse_to_replace(output / "manifest.csv", manifest, labels)
    classes = Manifest.load(manifest, labels, "skip").vocabulary
    with decoding() as progress:
        made = negative_set.build(classes, output, count, seconds, _ordered(level), split, seed, tones, hums, progress)
    click.echo(f"{output}: {describe(made)}", err=True)


def _ordered(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    """``bounds``, if the lower comes first."""
    low, high = bounds
    if low > high:
        raise click.UsageError(f"{low} to {high}: the lower bound comes first")
    return low, high


COMMANDS = (noise, soundscapes, negatives)
