"""The command group ``sedkit-train data``: make, check, mix and pack data sets."""

from __future__ import annotations

from pathlib import Path

import click

from training.data.augment.commands import COMMANDS as MIXERS
from training.data.demo import CLASSES, make_demo
from training.data.leave_out import leave_out
from training.data.manifest.problems import OnError
from training.data.manifest.summary import describe
from training.data.manifest.table import Manifest
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
from training.data.readers.commands import COMMANDS as READERS
from training.data.store.codecs import Codec
from training.data.store.decoded import AudioStore
from training.data.store.pack import Packing
from training.data.store.pack import pack as pack_manifest
from training.data.store.packed import PackedAudio
from training.runtime.command_line import Commands, refuse_to_replace
from training.runtime.progress import decoding


class DataCommands(Commands):
    """Lists the commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands))
        others = [command for command in self.commands.values() if command not in (*READERS, *MIXERS)]
        for title, commands in (("Read a data set", READERS), ("Manifests", others), ("Mix and modify", MIXERS)):
            with formatter.section(title):
                rows = [(f"{command.name:{width}}", command.get_short_help_str(60)) for command in commands]
                formatter.write_dl(rows)


@click.group(cls=DataCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


for command in (*READERS, *MIXERS):
    main.add_command(command)


@main.command()
@output_folder_option
@click.option("--count", type=click.IntRange(5), default=30, show_default=True, help="Clips per class.", metavar="N")
@seed_option
def demo(output: Path, count: int, seed: int) -> None:
    """Make a small set of synthetic sounds to try the training on.

    \b
    Examples:
      sedkit-train data demo --output demo
      sedkit-train secost --preset demo --manifest demo --stages 4
    """
    click.echo(f"{output}: {make_demo(output, count, seed)} clips, {len(CLASSES)} classes", err=True)


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


@main.command("leave-out")
@click.argument("manifest", type=FILE)
@click.option(
    "--class", "classes", multiple=True, required=True, help="Class to leave out; may be given several times."
)
@output_option
@click.option("--left", type=FILE, required=True, help="Manifest to write, of the test clips with these classes.")
@manifest_labels_option
def leave_out_command(manifest: Path, classes: tuple[str, ...], output: Path, left: Path, labels: Path | None) -> None:
    """Leave classes out of a manifest, to measure how a model without them answers to their sounds.

    The classes below them in AudioSet's ontology go with them. OUTPUT has no clip in which one of these classes
    sounds, nor training and validation clips in which one may sound (?NAME). LEFT has the test clips in which one
    sounds, labelled with their other classes, or with - if they have none.

    \b
    Examples:
      sedkit-train data leave-out all.csv --class Telephone --class Arrow --output rest.csv --left left.csv
      sedkit-train secost --manifest rest.csv --run runs/rest
      sedkit-train evaluate unknown runs/rest/model.onnx --manifest left.csv
    """
    if output.resolve() == left.resolve():
        raise click.UsageError("--output and --left name one file: give them two names")
    for path in (output, left):
        refuse_to_replace(path, manifest, labels)
    parted = leave_out(Manifest.load(manifest, labels), classes)
    write_manifest(parted.rest, output)
    write_manifest(parted.left, left)


@main.command()
@click.argument("manifest", type=FILE_OR_FOLDER)
@manifest_labels_option
def check(manifest: Path, labels: Path | None) -> None:
    """Check a manifest or a packed set for faults.

    Prints its clips, classes and splits, and the number of faults by kind. MANIFEST is a file, whose every clip is
    opened, or the directory of a packed set, whose every shard is compared with its checksum. Exits with 1 if there
    are faults.

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
    """Pack the clips of a manifest into tar shards.

    This is for data sets that are too large to decode into one file. Training reads the packed set in place of the
    manifest: --manifest DIRECTORY. After an interruption, run the same command again; it makes only the missing
    shards.

    \b
    Examples:
      sedkit-train data pack audioset.csv --output packed --on-error skip
      sedkit-train data check packed
    """
    refuse_to_replace(output / "manifest.csv", manifest, labels)
    packing = Packing(codec, bitrate, shard_clips, seed)
    with decoding() as progress:
        index = pack_manifest(Manifest.load(manifest, labels, on_error), output, packing, on_error, progress, workers)
    click.echo(
        f"{output}: {index['clips']} clips, {index['hours']:.2f} hours, {len(index['shards'])} shards, "
        f"{index['bytes'] / 1e9:.3g} GB"
    )
    for kind, left_out in index["dropped"].items():
        click.echo(f"left out: {left_out['clips']} x {kind} ({', '.join(left_out['examples'])})", err=True)
