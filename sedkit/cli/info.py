"""``sedkit info``: facts about recordings and models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli import parameters

if TYPE_CHECKING:
    from sedkit.audio.reading import AudioInfo, Track


@click.command("info")
@click.argument("files", nargs=-1, required=True, type=parameters.PATH)
@click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], format_name: str) -> None:
    """Describe recordings and models.

    For a recording: format, sample rate, channels, bits, duration, and the audio tracks if there are several. For a
    model (an ONNX file, or the name of an installed model): size, precision and its measured loss of accuracy, licence,
    how it was trained, and its classes with their thresholds. --format json prints one JSON object per line; of a
    model, used_here is the file that this machine runs under that name.

    \b
    Examples:
      sedkit info clip.wav
      sedkit info wels-secost
      sedkit info model.onnx --format json | jq -r '.labels[].name'
    """
    from sedkit.cli.messages import print_error, print_notice
    from sedkit.errors import SedkitError
    from sedkit.install import conflict

    code = 0
    if problem := conflict():
        print_notice(problem)
    for position, file in enumerate(matched(files)):
        try:
            record, text = describe_model(file) if is_model(file) else describe_audio(file)
        except SedkitError as error:
            print_error(str(error))
            code = 1
            continue
        if format_name == "json":
            click.echo(json.dumps(record, ensure_ascii=False))
        else:
            click.echo(("\n" if position else "") + text)
    ctx.exit(code)


def matched(files: Iterable[str]) -> Iterator[str]:
    """The files, and those that match in place of a glob, for shells that leave it as it is.

    Raises
    ------
    click.UsageError
        If one is standard input.
    """
    from sedkit.cli.inputs import STDIN, has_magic, in_glob

    for file in files:
        if file == STDIN:
            raise click.UsageError("- is standard input, which has no facts to describe; save it to a file first.")
        matches = sorted(set(in_glob(file, []))) if has_magic(file) and not Path(file).exists() else []
        yield from matches or [file]


def is_model(file: str) -> bool:
    """Whether this is an ONNX file, or the name of an installed model and not of a file."""
    from sedkit.inference.installed import SUFFIX, names

    if Path(file).suffix.lower() == SUFFIX:
        return True
    return not Path(file).exists() and file in names()


def describe_audio(file: str) -> tuple[dict[str, Any], str]:
    """Facts about a recording, as a JSON object and as text."""
    from sedkit.audio.reading import probe
    from sedkit.cli.describe import block

    info: AudioInfo = probe(file)
    rows = {
        "format": f"{info.container}, {info.codec}",
        "rate": f"{info.sample_rate} Hz",
        "channels": info.channels,
        "bits": info.bits,
        "duration": "unknown" if info.duration is None else f"{info.duration:.3f} s",
        **{f"track {track.number}": track_text(track) for track in info.tracks},
    }
    record = asdict(info)
    if info.duration is not None:
        record["duration"] = round(info.duration, 3)
    return record, block(file, rows)


def track_text(track: Track) -> str:
    """One line about an audio track."""
    channels = "1 channel" if track.channels == 1 else f"{track.channels} channels"
    facts = [track.codec, f"{track.sample_rate} Hz", channels, track.language, track.title]
    return ", ".join(filter(None, [*facts, "default" if track.default else ""]))


def describe_model(file: str) -> tuple[dict[str, Any], str]:
    """Facts about a model, as a JSON object and as text."""
    from sedkit.cli import describe
    from sedkit.inference.installed import find_model, named_model

    path, used = named_model(file), find_model(file)
    model = describe.model(path)
    rate = model["sample_rate"]
    span, hop = model["segment_span"] / rate, model["segment_hop"] / rate
    rows = {
        "file": model["file"],
        "contract": model["contract"],
        "input": f"{rate} Hz, mono",
        "segments": f"{span:.2f} s, one every {hop:.2f} s",
        "tags": f"means over {(model['tag_segments'] - 1) * hop + span:.2f} s",
        "size": describe.megabytes(model["size"]),
        "network": describe.network(model["lineage"]),
        "precision": model["precision"],
        "used here": None if used == path else f"{used.stem}, whose thresholds are its own",
        "licence": model["license"],
        "calibration": describe.calibration(model["calibration"], model["lineage"]),
        **describe.metrics(model["lineage"].get("metrics", {})),
        **describe.quantisation(model["lineage"]),
        **describe.lineage(model["lineage"]),
    }
    names = [label["name"] for label in model["labels"]]
    width = max(map(len, names))
    classes = [
        f"  {x['name']:<{width}}  {x['mid'] or '-':<12}  threshold {x['threshold']:.3g}"
        f", in timelines {x['timeline_threshold']:.3g}"
        for x in model["labels"]
    ]
    return {**model, "used_here": str(used)}, "\n".join(
        [describe.block(model["name"], rows), f"  {len(names)} classes:", *("  " + x for x in classes)]
    )
