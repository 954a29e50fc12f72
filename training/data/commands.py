"""Make, check and pack manifests: ``sedkit-train data --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from training.data.manifest.table import SPLITS, Manifest
from training.data.options import (
    FILE,
    FOLDER,
    PLACE,
    labels_option,
    on_error_option,
    output_option,
    seed_option,
    vocabulary,
    write,
)
from training.data.readers import commands as read
from training.data.readers import datasets as readers
from training.data.store.decoded import AudioStore
from training.data.store.packed import PackedAudio
from training.data.store.source import open_audio
from training.runtime.command_line import Commands
from training.runtime.files import write_json
from training.runtime.progress import decoding


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Turn a data set into a manifest, the CSV that training reads.

    \b
    sedkit-train data folders recordings --output set.csv
    sedkit-train data csv clips.csv --labels class_labels_indices.csv --output set.csv
    sedkit-train data esc50 ESC-50 --test-fold 5 --output esc50.csv
    sedkit-train data merge esc50.csv set.csv --output all.csv
    sedkit-train data check all.csv
    sedkit-train data pack all.csv --output packed
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
@click.argument("manifest", type=PLACE)
@labels_option
def check(manifest: Path, labels: Path | None) -> None:
    """Say what is in a manifest, and every kind of fault.

    Of a packed set (its directory), every shard is read and compared with its checksum.
    """
    if manifest.is_dir():
        check_packed(manifest, labels)
        return
    found = Manifest.load(manifest, labels, "skip").checked("skip", str(manifest))
    click.echo(readers.describe(found))
    if found.dropped:
        raise SystemExit(1)


def check_packed(place: Path, labels: Path | None) -> None:
    """Read all shards of a packed set."""
    audio = PackedAudio.open(place, vocabulary(labels))
    with decoding() as progress:
        found = []
        for name, fault in audio.verify():
            found.append((name, fault))
            progress(len(found), len(audio.index["shards"]))
    click.echo(readers.describe(audio.manifest))
    faulty = [f"{name}: {fault}" for name, fault in found if fault]
    click.echo(f"{len(found)} shards, {audio.index['bytes']} bytes, {len(faulty)} damaged")
    if faulty:
        click.echo("\n".join(faulty))
        click.echo("copy these again, or remove them and pack again: only what is missing is made", err=True)
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
    with decoding() as progress:
        store = AudioStore.open_or_build(Manifest.load(manifest, labels, on_error), directory, on_error, progress)
    click.echo(f"{store.folder}: {len(store)} clips, {store.lengths.sum() / 16_000 / 3600:.2f} hours")
    for line in store.manifest.dropped.lines():
        click.echo(f"left out: {line}", err=True)


@main.command()
@click.argument("manifest", type=FILE)
@click.option("--output", "-o", type=FOLDER, required=True, help="Directory to pack into.")
@click.option(
    "--codec",
    type=click.Choice(["flac", "opus"]),
    default="flac",
    show_default=True,
    help="flac keeps every sample and is quick to decode; opus takes a third of the room and ten times as long.",
)
@click.option(
    "--bitrate", type=click.IntRange(6, 256), default=48, show_default=True, help="Of Opus, in kbit/s.", metavar="KBITS"
)
@click.option(
    "--shard-clips", type=click.IntRange(1), default=1000, show_default=True, help="Most clips of a shard.", metavar="N"
)
@click.option("--workers", type=click.IntRange(1), help="Clips decoded at a time.  [default: the processors there are]")
@seed_option
@labels_option
@on_error_option
def pack(
    manifest: Path,
    output: Path,
    codec: Any,
    bitrate: int,
    shard_clips: int,
    workers: int | None,
    seed: int,
    labels: Path | None,
    on_error: Any,
) -> None:
    """Pack the clips of a manifest into tar shards, for training at scale.

    What an interruption left is used: give the same command again. Training reads the packed set in place
    of the manifest, and nothing else is needed: --manifest DIRECTORY.

    \b
    sedkit-train data pack audioset.csv --output packed --on-error skip
    sedkit-train data check packed
    """
    from training.data.store.pack import Packing
    from training.data.store.pack import pack as into

    packing = Packing(codec, bitrate, shard_clips, seed)
    with decoding() as progress:
        index = into(Manifest.load(manifest, labels, on_error), output, packing, on_error, progress, workers)
    click.echo(
        f"{output}: {index['clips']} clips, {index['hours']:.2f} hours, {len(index['shards'])} shards, "
        f"{index['bytes'] / 1e9:.3g} GB"
    )
    for kind, left_out in index["dropped"].items():
        click.echo(f"left out: {left_out['clips']} x {kind} ({', '.join(left_out['examples'])})", err=True)


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
    sedkit-train data noise set.csv --drop 0.25 --flip 0.05 --output noisy.csv
    """
    from training.data.augment.label_noise import with_noise

    spoilt, record = with_noise(Manifest.load(manifest, labels), drop, flip, splits, seed)
    write(spoilt, output)
    write_json(output.with_suffix(".noise.json"), record)
    click.echo(
        f"{record['labels_missing']} of {record['labels']} labels missing, {record['labels_wrong']} wrong", err=True
    )


@main.command()
@click.argument("manifest", type=PLACE)
@click.option("--output", "-o", type=FOLDER, required=True, help="Directory to write into.")
@click.option("--count", type=click.IntRange(1), required=True, help="How many, in all.", metavar="N")
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Length of each.")
@click.option(
    "--events", type=click.IntRange(1), nargs=2, default=(1, 5), show_default=True, help="Fewest and most sounds."
)
@click.option("--longest", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Seconds of a sound.")
@click.option("--overlap", type=click.IntRange(1), default=2, show_default=True, help="Most sounds at a time.")
@click.option(
    "--snr", type=float, nargs=2, default=(3.0, 25.0), show_default=True, help="Sounds above the background, in dB."
)
@click.option(
    "--level", type=float, nargs=2, default=(-50.0, -30.0), show_default=True, help="Of the background, in dBFS."
)
@click.option(
    "--background",
    "backgrounds",
    multiple=True,
    metavar="CLASS",
    help="A class that is heard behind others, in half of the recordings; may be given several times.  "
    "[default: noise alone]",
)
@click.option("--split", type=click.Choice(SPLITS), help="Use clips of this split only.  [default: of all]")
@seed_option
@labels_option
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
    on_error: Any,
) -> None:
    """Mix labelled clips into recordings of which is known what is heard when.

    Clips with one label are cut to where they sound and placed in noise or before a background, at
    random times and levels. Writes audio, a manifest with weak labels, and strong labels as TSV. The splits
    of the clips are kept.

    \b
    sedkit-train data soundscapes esc50.csv --count 10000 --output scapes
    sedkit-train data soundscapes esc50.csv --split test --count 400 --output mixtures
    sedkit-train data noise scapes/manifest.csv --drop 0.25 --output scapes/noisy.csv
    """
    from training.data.augment.soundscape_set import build
    from training.data.augment.soundscapes import Recipe

    recipe = Recipe(seconds, _ordered(events), longest, overlap, _ordered(snr), _ordered(level))
    with decoding() as progress:
        audio = open_audio(manifest, labels, on_error, progress)
        made = build(audio, output, count, recipe, backgrounds, seed, split, progress)
    click.echo(f"{output}: {readers.describe(made)}", err=True)


@main.command()
@click.argument("manifest", type=FILE)
@click.option("--output", "-o", type=FOLDER, required=True, help="Directory to write into.")
@click.option("--count", type=click.IntRange(1), required=True, help="How many.", metavar="N")
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Length of each.")
@click.option(
    "--level", type=float, nargs=2, default=(-75.0, -15.0), show_default=True, help="Lowest and highest, in dBFS."
)
@click.option("--split", type=click.Choice(SPLITS), default="train", show_default=True, help="Of all of them.")
@seed_option
@labels_option
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
    """Make recordings of noise and hum in which none of a manifest's classes is heard.

    To be merged with that manifest: a network learns from them that the hiss of a microphone is nothing. A few in a
    hundred training clips are enough.

    \b
    sedkit-train data negatives set.csv --count 100 --output noise
    sedkit-train data merge set.csv noise/manifest.csv --output all.csv
    """
    from training.data.augment.negatives import build

    classes = Manifest.load(manifest, labels, "skip").vocabulary
    with decoding() as progress:
        made = build(classes, output, count, seconds, _ordered(level), split, seed, progress)
    click.echo(f"{output}: {readers.describe(made)}", err=True)


def _ordered(bounds: tuple[Any, Any]) -> tuple[Any, Any]:
    low, high = bounds
    if low > high:
        raise click.UsageError(f"{low} to {high}: the lower bound comes first")
    return low, high
