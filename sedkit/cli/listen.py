"""``sedkit listen``: which sounds occur now, from a microphone or a pipe."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli import options
from sedkit.cli.inputs import STDIN, stdin
from sedkit.cli.timeline import Resolution
from sedkit.errors import AudioError, DeviceError

if TYPE_CHECKING:
    from sedkit.audio.live import LiveAudio
    from sedkit.cli.display import Display
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.results import Event, Second


class Encoding(click.ParamType[str]):
    """Parameter type: sample encoding, by FFmpeg's name (``s16le``) or arecord's (``S16_LE``)."""

    name = "encoding"
    NAMES = ("u8", "s16le", "s32le", "f32le")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = str(value).lower().replace("_", "").replace("float", "f32")
        if name not in self.NAMES:
            self.fail(f"{value!r} is not one of {', '.join(self.NAMES)}.", param, ctx)
        return name


@click.command("listen")
@click.argument("source", required=False, metavar="[MICROPHONE|-]")
@click.option("--list", "list_them", is_flag=True, help="List the microphones and exit.")
@click.option(
    "--rate",
    type=click.FloatRange(1_000, 1_000_000),
    metavar="HZ",
    help="Sample rate. Required for raw samples from standard input. Default: the microphone's own rate.",
)
@click.option(
    "--channels",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Channels of raw samples from standard input.",
)
@click.option(
    "--encoding",
    "-e",
    type=Encoding(),
    default="s16le",
    show_default=True,
    metavar="|".join(Encoding.NAMES),
    help="Encoding of raw samples from standard input. Names such as S16_LE work too.",
)
@click.option(
    "--threshold",
    "-t",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="A class is present where its score is at least SCORE (0 to 1). An event also needs a mean of at least SCORE "
    "over its three highest segments. Default: the model's own threshold for each class.",
)
@click.option(
    "--resolution",
    type=Resolution(),
    default=1.0,
    show_default=True,
    metavar="SECONDS|native",
    help="Length of the timeline's cells. native is the model's segment hop, 0.32 s.",
)
@options.classes
@click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice(["text", "jsonl"]),
    help="Output format. Default: text on a terminal, otherwise jsonl.",
)
@options.model
@options.precision
@options.device
@click.pass_context
def command(ctx: click.Context, /, source: str | None, list_them: bool, **settings: Any) -> None:
    """Show which sounds occur now, from a microphone or a pipe.

    MICROPHONE is a number, or part of a name, from --list. Default: the system's default microphone. - reads samples
    from standard input as they arrive: a wav file, or raw samples with --rate. Microphones need an extra package:
    pip install 'sedkit-audio[listen]'

    A terminal shows a scrolling timeline. For programs, --format jsonl writes one JSON object per line as soon as it
    is final: a cell of the timeline 2.2 s after its start, an event 2 s after its end (docs/timeline.md). Ctrl-C
    stops it.

    \b
    Examples:
      sedkit listen
      sedkit listen "USB" --classes "Dog,Siren" --threshold 0.3
      sedkit listen --format jsonl | jq -r 'select(.type == "event") | .label'
      arecord -f S16_LE -r 16000 -t raw | sedkit listen - --rate 16000
      ffmpeg -i rtsp://camera -f s16le -ac 1 -ar 16000 - | sedkit listen - --rate 16000
    """
    if list_them:
        list_microphones()
        return
    ctx.exit(listen(source, **settings))


def listen(
    source: str | None,
    *,
    rate: float | None,
    channels: int,
    encoding: str,
    threshold: float | None,
    resolution: float | Literal["native"],
    classes: Sequence[str],
    format_name: Literal["text", "jsonl"] | None,
    model: str | None,
    precision: Precision,
    device: Device,
) -> int:
    """Analyse a live source until it ends or is stopped; returns the exit code."""
    from sedkit.cli.batch import load_tagger
    from sedkit.cli.display import make_display

    tagger = load_tagger(model, device, precision=precision)  # before the source opens, or sound would be lost
    selected = options.split_classes(classes, tagger.labels)
    chosen_format = format_name or ("text" if sys.stdout.isatty() else "jsonl")
    with open_source(source, rate, channels, encoding) as live, stopping(live):
        items = tagger.stream(
            live, live.sample_rate, threshold=threshold, resolution=resolution, classes=selected, name=live.name
        )
        with make_display(chosen_format, live.name, live.sample_rate, tagger.contract.name, resolution) as display:
            show(items, live, display)
    return 0


def show(items: Iterator[Second | Event], live: LiveAudio, display: Display) -> None:
    """Show cells and events until the source ends.

    Raises
    ------
    SedkitError
        If reading fails, or the microphone is unplugged.
    """
    from sedkit.results import Event

    losses = 0
    try:
        for item in items:
            display.add(item)
            if live.losses > losses:
                losses = live.losses
                display.lose(item.offset if isinstance(item, Event) else item.end)
    except AudioError:
        if not live.stopped:  # stopped before the first sample: an empty recording, but no error
            raise
    if live.endless and not live.stopped:
        raise DeviceError(f"{live.name}: this microphone delivers no more sound; check that it is plugged in")


def open_source(source: str | None, rate: float | None, channels: int, encoding: str) -> LiveAudio:
    """The microphone or standard input, not yet started."""
    from sedkit.audio.live import Microphone, Pipe

    if source == STDIN:
        return Pipe(io.FileIO(stdin().fileno(), closefd=False), rate, channels, encoding)
    return Microphone(source, rate)


@contextmanager
def stopping(live: LiveAudio) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the source, so that the remaining results are shown; a second one interrupts at once."""

    def stop(number: int, frame: object) -> None:
        if live.stopped:
            raise KeyboardInterrupt
        live.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def list_microphones() -> None:
    """Print one line per microphone; ``*`` marks the default."""
    from sedkit.audio.live import microphones

    for number, name, channels, rate, default in microphones():
        click.echo(f"{'*' if default else ' '} {number:>3}  {name}  ({channels} channels, {rate:g} Hz)")
