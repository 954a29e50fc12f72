"""``sedkit listen``: which sounds occur now, from a microphone, a pipe, a file or a network."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli import alerting, options, parameters, shaping
from sedkit.cli.live_source import SourceOptions, open_source
from sedkit.cli.messages import print_notice
from sedkit.cli.service import Watchdog, notify
from sedkit.cli.timeline import Resolution
from sedkit.errors import AudioError, AudioWarning, LostSourceError, SedkitError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sedkit.audio.live import Incident, LiveAudio
    from sedkit.cli.display import Display
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.results import Event, Onset, Second

STALL = 8.0  # seconds


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
@click.argument("source", required=False, metavar="[MICROPHONE|FILE|URL|-]")
@click.option("--list", "list_them", is_flag=True, help="List the microphones and exit.")
@click.option(
    "--rate",
    type=parameters.Number(1_000, 1_000_000),
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
@click.option(
    "--endless", is_flag=True, help="Take the end of a pipe as a loss: exit code 3, so that a service is started again."
)
@click.option(
    "--reconnect/--no-reconnect",
    default=True,
    show_default=True,
    help="Connect again when the connection to a URL is lost.",
)
@click.option(
    "--stall",
    type=parameters.Number(0.1, 86_400),
    default=STALL,
    show_default=True,
    metavar="SECONDS",
    help="Say so when no audio comes for so long.",
)
@alerting.alerts
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
@options.loading
@click.pass_context
def command(ctx: click.Context, /, source: str | None, list_them: bool, **settings: Any) -> None:
    """Show which sounds occur now, from a microphone, a pipe, a file or a network.

    MICROPHONE is a number, or part of a name, from --list. Default: standard input if it is a pipe or a file, otherwise
    the system's default microphone. Microphones need an extra package: pip install 'sedkit-audio[listen]'

    - reads standard input as it arrives: wav, flac, ogg, mp3, aac, mp4 or any other format that FFmpeg can stream, or
    raw samples with --rate. A FILE is analysed as fast as possible, with the same output as a microphone. A named pipe
    is read like standard input. URLs begin with rtsp, http, udp, tcp, rtp or rtmp; a lost connection is made again.

    A terminal shows a scrolling timeline. For programs, --format jsonl writes one JSON object per line as soon as it
    is final: a cell of the timeline 2.2 s after its start, the onset of a long sound about 2 s after it, later if its
    score rises slowly, an event 2 to 5 s after its end (docs/listen.md). Ctrl-C stops it.

    Alerts run commands, call webhooks, publish by MQTT or save clips when a sound begins (docs/alerts.md).

    \b
    Examples:
      sedkit listen
      sedkit listen "USB" --classes "Dog,Siren" --threshold 0.3
      sedkit listen --format jsonl | jq -r 'select(.type == "event") | .label'
      arecord -f S16_LE -r 16000 -t raw | sedkit listen --rate 16000
      sedkit listen rtsp://camera.local/1
      sedkit listen --on "Dog>0.5 for 1s every 60s" --run "notify-send Dog"
      sedkit listen --alerts rules.toml
    """
    if list_them:
        list_microphones()
        return
    ctx.exit(listen(source, **settings))


def listen(
    source: str | None,
    *,
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
    settings = shaping.settings_of(own, tagger)
    alerts = alerting.Alerts.of(own, tagger, settings)
    chosen_format = format_name or ("text" if sys.stdout.isatty() else "jsonl")
    source_options = SourceOptions(**{field.name: own[field.name] for field in fields(SourceOptions)})
    with ExitStack() as stack:
        stack.enter_context(audio_notices())
        live = stack.enter_context(open_source(source, source_options))
        stack.enter_context(stopping(live))
        clock = alerting.clock_of(live)
        stack.enter_context(alerts)
        failures = list[SedkitError]()
        items = tagger.stream(
            alerts.heard(until_failure(live, failures), live.block_rate),
            live.block_rate,
            postprocessing=settings,
            resolution=resolution,
            classes=selected,
            **shaping.selection_of(own, tagger),
            channel=source_options.channel,
            weights=live.weights,
            gain=gain,
            name=live.name,
            onsets=True,
            views=alerts.views(live.name, clock),
        )
        notify("READY=1", f"STATUS=listening to {live.name}")
        model_name, start = tagger.contract.name, clock(0.0)
        with make_display(chosen_format, live.name, live.sample_rate, model_name, resolution, start) as display:
            alerts.on_alert, live.on_incident = display.warn, reporter(display, live)
            show(items, live, display)
            if live.endless and not live.stopped and not failures:
                failures.append(LostSourceError(f"{live.name}: delivers no more sound; check that it is connected"))
            if any(isinstance(failure, LostSourceError) for failure in failures):
                display.end(live.received)
        notify("STOPPING=1")
        for failure in failures:
            raise failure
    return 0


def until_failure(live: LiveAudio, failures: list[SedkitError]) -> Iterator[NDArray[Any]]:
    """The blocks of a source. An error ends them and is added to a list, so that what came before is still shown."""
    watchdog = Watchdog()
    try:
        for block in live:
            watchdog.feed()
            yield block
    except SedkitError as failure:
        failures.append(failure)


def reporter(display: Display, live: LiveAudio) -> Callable[[Incident], None]:
    """What to do with an incident of the source: show it, and tell the service manager."""

    def report(incident: Incident) -> None:
        display.tell(incident)
        notify(f"STATUS=listening to {live.name}" + (", no audio comes" if incident.kind == "stalled" else ""))

    return report


def show(items: Iterator[Second | Event | Onset], live: LiveAudio, display: Display) -> None:
    """Show cells, onsets and events until the source ends.

    Raises
    ------
    AudioError
        If the samples are invalid.
    """
    from sedkit.formats.terminal import clock
    from sedkit.results import Event, Onset

    losses = damages = 0
    try:
        for item in items:
            display.add(item)
            if isinstance(item, Onset):
                continue
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


@contextmanager
def audio_notices() -> Iterator[None]:
    """Print what the tagger warns of as notices."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AudioWarning)
        warnings.showwarning = lambda message, *_: print_notice(str(message))
        yield


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
