"""``sedkit listen``: what can be heard now."""

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
    """How samples are written: FFmpeg's names, and arecord's."""

    name = "encoding"
    NAMES = ("u8", "s16le", "s32le", "f32le")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        plain = str(value).lower().replace("_", "").replace("float", "f32")
        if plain not in self.NAMES:
            self.fail(f"{value!r} is none of {', '.join(self.NAMES)}.", param, ctx)
        return plain


@click.command("listen")
@click.argument("source", required=False, metavar="[MICROPHONE|-]")
@click.option("--list", "list_them", is_flag=True, help="List the microphones, and stop.")
@click.option(
    "--rate",
    type=click.FloatRange(1_000, 1_000_000),
    metavar="HZ",
    help="Of the samples: needed for bare ones from standard input. Default: the microphone's own.",
)
@click.option(
    "--channels", type=click.IntRange(1, 64), default=1, show_default=True, help="Of bare samples from standard input."
)
@click.option(
    "--encoding",
    "-e",
    type=Encoding(),
    default="s16le",
    show_default=True,
    metavar="|".join(Encoding.NAMES),
    help="Of bare samples from standard input; also S16_LE and the like.",
)
@click.option(
    "--threshold",
    "-t",
    type=click.FloatRange(0, 1),
    metavar="SCORE",
    help="A class is present where it scores SCORE (0 to 1) or more; an event, where the three highest of its segments "
    "do in the mean. Default: what the model holds for each class.",
)
@click.option(
    "--resolution",
    type=Resolution(),
    default=1.0,
    show_default=True,
    metavar="SECONDS|native",
    help="Length of a cell of the timeline; native is the model's own, 0.32 s.",
)
@options.classes
@click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice(["text", "jsonl"]),
    help="Default: text on a terminal, elsewhere jsonl.",
)
@options.model
@options.precision
@options.device
@click.pass_context
def command(ctx: click.Context, /, source: str | None, list_them: bool, **settings: Any) -> None:
    """Show what can be heard now, from a microphone or a pipe.

    MICROPHONE is a number or part of a name as --list shows them; without it, the system's default. - reads samples
    from standard input as they come: a wav, or bare samples with their --rate. Microphones need pip install
    'sedkit[listen]'.

    A terminal shows a timeline that rolls by. For programs, --format jsonl writes an object a line, each as soon as it
    is certain: cells of the timeline 2.2 s after they begin, events 2 s after they end (docs/timeline.md). Ctrl-C
    ends it.

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
    """Follow a source to its end; the exit code."""
    from sedkit.cli.batch import load
    from sedkit.cli.display import display

    tagger = load(model, device, precision=precision)  # first: no sound must wait for it
    wanted = options.split_classes(classes, tagger.labels)
    chosen_format = format_name or ("text" if sys.stdout.isatty() else "jsonl")
    with open_source(source, rate, channels, encoding) as live, stopping(live):
        found = tagger.stream(
            live, live.sample_rate, threshold=threshold, resolution=resolution, classes=wanted, name=live.name
        )
        with display(chosen_format, live.name, live.sample_rate, tagger.contract.name, resolution) as shown:
            follow(live, found, shown)
    return 0


def follow(live: LiveAudio, found: Iterator[Second | Event], shown: Display) -> None:
    """Show what is found until the sound ends.

    Raises
    ------
    SedkitError
        If it breaks off.
    """
    from sedkit.results import Event

    losses = 0
    try:
        for item in found:
            shown.add(item)
            if live.losses > losses:
                losses = live.losses
                shown.lose(item.offset if isinstance(item, Event) else item.end)
    except AudioError:
        if not live.stopped:  # otherwise there was nothing to hear yet
            raise
    if live.endless and not live.stopped:
        raise DeviceError(f"{live.name}: no more sound comes from this microphone; is it still plugged in?")


def open_source(source: str | None, rate: float | None, channels: int, encoding: str) -> LiveAudio:
    from sedkit.audio.live import Microphone, Pipe

    if source == STDIN:
        return Pipe(io.FileIO(stdin().fileno(), closefd=False), rate, channels, encoding)
    return Microphone(source, rate)


@contextmanager
def stopping(live: LiveAudio) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the sound, and so, in good order, what follows from it; the second time, at once."""

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
    from sedkit.audio.live import microphones

    for number, name, channels, rate, default in microphones():
        click.echo(f"{'*' if default else ' '} {number:>3}  {name}  ({channels} channels, {rate:g} Hz)")
