"""``sedkit listen``: which sounds occur now, from a microphone, a pipe or a file."""

from __future__ import annotations

import io
import os
import signal
import stat
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli import options, shaping
from sedkit.cli.inputs import AUDIO_SUFFIXES, STDIN, stdin, stdin_is_piped
from sedkit.cli.messages import print_notice
from sedkit.cli.timeline import Resolution
from sedkit.errors import ArgumentError, AudioError, AudioWarning, DeviceError, SedkitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sedkit.audio.channels import Channel
    from sedkit.audio.live import LiveAudio
    from sedkit.cli.display import Display
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.results import Event, Second


PATIENCE = 5.0  # seconds without audio until a notice says that standard input is read
WAITING = "waiting for audio from standard input; to hear a microphone instead, name it: sedkit listen --list"


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
@click.argument("source", required=False, metavar="[MICROPHONE|FILE|-]")
@click.option("--list", "list_them", is_flag=True, help="List the microphones and exit.")
@click.option(
    "--rate",
    type=click.FloatRange(1_000, 1_000_000),
    metavar="HZ",
    help="Sample rate. Required for raw samples. Default: the microphone's own rate.",
)
@click.option(
    "--channels",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Channels of raw samples.",
)
@click.option(
    "--encoding",
    "-e",
    type=Encoding(),
    default="s16le",
    show_default=True,
    metavar="|".join(Encoding.NAMES),
    help="Encoding of raw samples. Names such as S16_LE work too.",
)
@shaping.shaping
@click.option(
    "--resolution",
    type=Resolution(),
    default=1.0,
    show_default=True,
    metavar="SECONDS|native",
    help="Length of the timeline's cells. native is the model's segment hop, 0.32 s.",
)
@options.track
@options.channel
@options.live_gain
@options.classes
@shaping.selecting
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
    """Show which sounds occur now, from a microphone, a pipe or a file.

    MICROPHONE is a number, or part of a name, from --list. Default: standard input if it is a pipe or a file, otherwise
    the system's default microphone. Microphones need an extra package: pip install 'sedkit-audio[listen]'

    - reads standard input as it arrives: wav, flac, ogg, mp3, aac, mp4 or any other format that FFmpeg can stream, or
    raw samples with --rate. A FILE is analysed as fast as possible, with the same output as a microphone. A named pipe
    is read like standard input.

    A terminal shows a scrolling timeline. For programs, --format jsonl writes one JSON object per line as soon as it
    is final: a cell of the timeline 2.2 s after its start, an event 2 to 5 s after its end (docs/timeline.md). Ctrl-C
    stops it.

    \b
    Examples:
      sedkit listen
      sedkit listen "USB" --classes "Dog,Siren" --threshold 0.3
      sedkit listen --format jsonl | jq -r 'select(.type == "event") | .label'
      arecord -f S16_LE -r 16000 -t raw | sedkit listen --rate 16000
      ffmpeg -i rtsp://camera -f wav - | sedkit listen
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
    track: int | None,
    channel: Channel,
    gain: float,
    resolution: float | Literal["native"],
    classes: Sequence[str],
    format_name: Literal["text", "jsonl"] | None,
    model: str | None,
    precision: Precision,
    device: Device,
    **own: Any,
) -> int:
    """Analyse a live source until it ends or is stopped; returns the exit code."""
    from sedkit.cli.batch import load_tagger
    from sedkit.cli.display import make_display

    tagger = load_tagger(model, device, precision=precision)  # before the source opens, or sound would be lost
    selected = options.split_classes(classes, tagger.labels)
    chosen_format = format_name or ("text" if sys.stdout.isatty() else "jsonl")
    with audio_notices(), open_source(source, rate, channels, encoding, track, channel) as live, stopping(live):
        failures = list[SedkitError]()
        items = tagger.stream(
            until_failure(live, failures),
            live.block_rate,
            postprocessing=shaping.settings_of(own, tagger),
            resolution=resolution,
            classes=selected,
            **shaping.selection_of(own, tagger),
            channel=channel,
            weights=live.weights,
            gain=gain,
            name=live.name,
        )
        with make_display(chosen_format, live.name, live.sample_rate, tagger.contract.name, resolution) as display:
            show(items, live, display)
        for failure in failures:
            raise failure
        if live.endless and not live.stopped:
            raise DeviceError(f"{live.name}: this microphone delivers no more sound; check that it is plugged in")
    return 0


def until_failure(live: LiveAudio, failures: list[SedkitError]) -> Iterator[NDArray[Any]]:
    """The blocks of a source. An error ends them and is added to a list, so that what came before is still shown."""
    try:
        yield from live
    except SedkitError as failure:
        failures.append(failure)


def show(items: Iterator[Second | Event], live: LiveAudio, display: Display) -> None:
    """Show cells and events until the source ends.

    Raises
    ------
    AudioError
        If the samples are invalid.
    """
    from sedkit.formats.terminal import clock
    from sedkit.results import Event

    losses = damages = 0
    try:
        for item in items:
            display.add(item)
            at = item.offset if isinstance(item, Event) else item.end
            if live.losses > losses:
                losses = live.losses
                display.lose(at)
            if live.damages > damages:
                damages = live.damages
                print_notice(f"{live.name}: damaged near {clock(at, 3600)}; what could not be decoded was left out")
    except AudioError:
        if not live.stopped:  # stopped before the first sample: an empty recording, but no error
            raise


def open_source(
    source: str | None,
    rate: float | None,
    channels: int,
    encoding: str,
    track: int | None = None,
    channel: Channel = "mix",
) -> LiveAudio:
    """The microphone, standard input or file; a microphone is not yet started.

    Raises
    ------
    SedkitError
        If it cannot be opened.
    """
    from sedkit.audio.live import Recording
    from sedkit.audio.microphone import Microphone
    from sedkit.audio.pipe import Pipe

    if source == STDIN or (source is None and stdin_is_fed()):
        with nullcontext() if source else waiting_notice():
            return Pipe(io.FileIO(stdin().fileno(), closefd=False), rate, channels, encoding, track=track)
    if source is None or not is_path(source):
        if track is not None:
            raise ArgumentError("--track is for files and streams with several audio tracks, not for a microphone")
        return Microphone(source, rate, all_channels=channel != "mix")
    if rate is None and os.path.isfile(source):
        return Recording(source, print_notice, track)
    try:
        file = io.FileIO(source)
    except FileNotFoundError:
        raise AudioError(f"{source}: no such file; check the path") from None
    except OSError as error:
        raise AudioError(f"{source}: cannot be opened ({error.strerror}); check the path") from None
    return Pipe(file, rate, channels, encoding, source, track)


def is_path(source: str) -> bool:
    """Whether a source is a path rather than a microphone. Names of microphones can hold slashes.

    Raises
    ------
    ArgumentError
        If it is a URL or a folder, which `listen` does not read.
    """
    if "://" in source:
        raise ArgumentError(f"{source}: URLs are read by ffmpeg: ffmpeg -i {source} -f wav - | sedkit listen")
    looks_like_path = source.startswith((os.sep, "./", "../")) or source.endswith(os.sep)
    if looks_like_path and os.path.isdir(source):
        raise ArgumentError(f"{source}: is a folder; analyse its files with sedkit timeline {source}")
    is_file = os.path.exists(source) and not os.path.isdir(source)
    has_suffix = os.path.splitext(source)[1].lower() in AUDIO_SUFFIXES
    return looks_like_path or has_suffix or (is_file and not source.isdecimal())


def stdin_is_fed() -> bool:
    """Whether standard input is a pipe, a socket or a file, which somebody connected to a program on purpose.

    Under a service manager, cron or ``nohup``, it is the null device.
    """
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode if stdin_is_piped() else 0
    except OSError:  # not a file of the system
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


@contextmanager
def audio_notices() -> Iterator[None]:
    """Print what the tagger warns of as notices."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AudioWarning)
        warnings.showwarning = lambda message, *_: print_notice(str(message))
        yield


@contextmanager
def waiting_notice() -> Iterator[None]:
    """Print a notice if the block takes long. Over ssh, for example, standard input is a pipe, but often idle."""
    timer = threading.Timer(PATIENCE, print_notice, [WAITING])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
    from sedkit.audio.microphone import microphones

    for number, name, channels, rate, default in microphones():
        click.echo(f"{'*' if default else ' '} {number:>3}  {name}  ({channels} channels, {rate:g} Hz)")
