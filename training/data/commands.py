"""The command group ``sedkit-train data``: make, check, mix and pack data sets."""

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
    FOLDER,
    load_vocabulary,
    manifest_labels_option,
    on_error_option,
    output_folder_option,
    output_option,
    seed_option,
    write_manifest,
)
from training.data.readers.commands import COMMANDS
from training.data.store.codecs import Codec
from training.data.store.decoded import AudioStore
from training.data.store.pack import Packing
from training.data.store.pack import pack as pack_manifest
from training.data.store.packed import PackedAudio
from training.data.store.source import open_audio
from training.runtime.command_line import Commands
from training.runtime.files import write_json
from training.runtime.progress import decoding


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Turn data sets into manifests, the CSV files that training reads.

    \b
    Examples:
      sedkit-train data folders recordings --output set.csv
      sedkit-train data csv clips.csv --labels class_labels_indices.csv --output set.csv
      sedkit-train data esc50 ESC-50 --test-fold 5 --output esc50.csv
      sedkit-train data merge esc50.csv set.csv --output all.csv
      sedkit-train data check all.csv
      sedkit-train data pack all.csv --output packed
    """


for command in COMMANDS:
    main.add_command(command)


@main.command()
@click.argument("manifests", type=FILE, nargs=-1, required=True)
@output_option
@on_error_option
def merge(manifests: tuple[Path, ...], output: Path, on_error: OnError) -> None:
    """Join several manifests into one.

    \b
    Examples:
      sedkit-train data merge esc50.csv own.csv --output all.csv
    """
    write_manifest(Manifest.merge([Manifest.load(path, None, on_error) for path in manifests], on_error), output)


@main.command()
@click.argument("manifest", type=FILE_OR_FOLDER)
@manifest_labels_option
def check(manifest: Path, labels: Path | None) -> None:
    """Show what a manifest or a packed set contains, and its faults.

    Opens every file of a MANIFEST. If MANIFEST is the directory of a packed set, reads every shard and compares its
    checksum. Exits with 1 if there are faults.

    \b
    Examples:
      sedkit-train data check set.csv
      sedkit-train data check packed
    """
    if manifest.is_dir():
        check_packed(manifest, labels)
        return
    checked = Manifest.load(manifest, labels, "skip").check_audio("skip", str(manifest))
    click.echo(describe(checked))
    if checked.dropped:
        raise SystemExit(1)


def check_packed(directory: Path, labels: Path | None) -> None:
    """Read all shards of a packed set, print its summary and the damaged shards, and exit with 1 if there are any."""
    audio = PackedAudio.open(directory, load_vocabulary(labels))
    with decoding() as progress:
        shards = []
        for name, fault in audio.verify():
            shards.append((name, fault))
            progress(len(shards), len(audio.index["shards"]))
    click.echo(describe(audio.manifest))
    damaged = [f"{name}: {fault}" for name, fault in shards if fault]
    click.echo(f"{len(shards)} shards, {audio.index['bytes']} bytes, {len(damaged)} damaged")
    if damaged:
        click.echo("\n".join(damaged))
        click.echo("copy these shards again, or remove them and pack again: only missing shards are made", err=True)
        raise SystemExit(1)


@main.command()
@click.argument("manifest", type=FILE)
@click.option("--directory", "-d", type=FOLDER, required=True, help="Folder for the decoded audio.")
@manifest_labels_option
@on_error_option
def decode(manifest: Path, directory: Path, labels: Path | None, on_error: OnError) -> None:
    """Decode every clip of a manifest once, to 16 kHz mono.

    With a copy of the directory, training does not need the audio files.

    \b
    Examples:
      sedkit-train data decode set.csv --directory decoded
    """
    with decoding() as progress:
        store = AudioStore.open_or_build(Manifest.load(manifest, labels, on_error), directory, on_error, progress)
    click.echo(f"{store.folder}: {len(store)} clips, {store.lengths.sum() / 16_000 / 3600:.2f} hours")
    for line in store.manifest.dropped.lines():
        click.echo(f"left out: {line}", err=True)


@main.command()
@click.argument("manifest", type=FILE)
@output_folder_option
@click.option(
    "--codec",
    type=click.Choice(["flac", "opus"]),
    default="flac",
    show_default=True,
    help="flac is lossless and decodes ten times as fast; opus takes a third of the space.",
)
@click.option(
    "--bitrate",
    type=click.IntRange(6, 256),
    default=48,
    show_default=True,
    help="Opus bit rate in kbit/s.",
    metavar="KBITS",
)
@click.option(
    "--shard-clips",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Maximum number of clips in a shard.",
    metavar="N",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Clips decoded at a time.  [default: number of processors]", metavar="N"
)
@seed_option
@manifest_labels_option
@on_error_option
def pack(
    manifest: Path,
    output: Path,
    codec: Codec,
    bitrate: int,
    shard_clips: int,
    workers: int | None,
    seed: int,
    labels: Path | None,
    on_error: OnError,
) -> None:
    """Pack the clips of a manifest into tar shards, for training on large data sets.

    Training reads the packed set in place of the manifest: --manifest DIRECTORY. After an interruption, run the same
    command again; it makes only the missing shards.

    \b
    Examples:
      sedkit-train data pack audioset.csv --output packed --on-error skip
      sedkit-train data check packed
    """
    packing = Packing(codec, bitrate, shard_clips, seed)
    with decoding() as progress:
        index = pack_manifest(Manifest.load(manifest, labels, on_error), output, packing, on_error, progress, workers)
    click.echo(
        f"{output}: {index['clips']} clips, {index['hours']:.2f} hours, {len(index['shards'])} shards, "
        f"{index['bytes'] / 1e9:.3g} GB"
    )
    for kind, left_out in index["dropped"].items():
        click.echo(f"left out: {left_out['clips']} x {kind} ({', '.join(left_out['examples'])})", err=True)


@main.command()
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
    """Add label noise, for experiments: remove some labels, replace others by a random class.

    Every clip keeps at least one label. NAME.noise.json beside NAME.csv records the settings and the changes.

    \b
    Examples:
      sedkit-train data noise set.csv --drop 0.25 --flip 0.05 --output noisy.csv
    """
    noisy, record = with_noise(Manifest.load(manifest, labels), drop, flip, splits, seed)
    write_manifest(noisy, output)
    write_json(output.with_suffix(".noise.json"), record)
    click.echo(
        f"{record['labels_missing']} of {record['labels']} labels missing, {record['labels_wrong']} wrong", err=True
    )


@main.command()
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
      sedkit-train data noise scapes/manifest.csv --drop 0.25 --output scapes/noisy.csv
    """
    recipe = Recipe(seconds, _ordered(events), longest, overlap, _ordered(snr), _ordered(level))
    with decoding() as progress:
        audio = open_audio(manifest, labels, on_error, progress)
        made = soundscape_set.build(audio, output, count, recipe, backgrounds, seed, split, progress)
    click.echo(f"{output}: {describe(made)}", err=True)


@main.command()
@click.argument("manifest", type=FILE)
@output_folder_option
@click.option("--count", type=click.IntRange(1), required=True, help="Number of recordings.", metavar="N")
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
    seconds: float,
    level: tuple[float, float],
    split: str,
    seed: int,
    labels: Path | None,
) -> None:
    """Make recordings of noise and hum that contain none of a manifest's classes.

    Merge them with that manifest: they teach a network to give low scores to microphone noise. A few per cent of the
    training clips are enough.

    \b
    Examples:
      sedkit-train data negatives set.csv --count 100 --output noise
      sedkit-train data merge set.csv noise/manifest.csv --output all.csv
    """
    classes = Manifest.load(manifest, labels, "skip").vocabulary
    with decoding() as progress:
        made = negative_set.build(classes, output, count, seconds, _ordered(level), split, seed, progress)
    click.echo(f"{output}: {describe(made)}", err=True)


def _ordered(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    """``bounds``, if the lower comes first."""
    low, high = bounds
    if low > high:
        raise click.UsageError(f"{low} to {high}: the lower bound comes first")
    return low, high
