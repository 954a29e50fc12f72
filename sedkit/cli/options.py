"""Options that several commands share, and parsing of ``--classes``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem

from sedkit.cli import parameters
from sedkit.cli.clock import Moment, Zone
from sedkit.formats import FORMATS

if TYPE_CHECKING:
    from sedkit.contract import Label

Function = TypeVar("Function", bound=Callable[..., object])


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completions for ``--model``: names of installed models, then files."""
    from sedkit.inference.installed import names

    known = [name for name in names() if name.startswith(incomplete)]
    return [CompletionItem(name) for name in known] + [CompletionItem(incomplete, type="file")]


classes = click.option(
    "--classes",
    "-c",
    multiple=True,
    metavar="NAMES",
    help="Only these classes: AudioSet names or MIDs, separated by commas. Repeatable. @FILE reads them from a file, "
    "one per line.",
)
model = click.option(
    "--model",
    "-m",
    metavar="NAME|PATH",
    shell_complete=complete_model,
    help="Full or short name of an installed model (see sedkit models), or path of an ONNX file.",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="Where the model runs. auto uses CUDA if it works, otherwise the CPU.",
)
precision = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "int8"]),
    default="auto",
    show_default=True,
    help="Arithmetic: fp32 is the model as trained, int8 a faster version for CPUs. auto uses int8 on a CPU if it is "
    "installed and its measured loss of accuracy is negligible (sedkit info shows it). auto runs a --model file as is.",
)


track = click.option(
    "--track",
    type=click.IntRange(min=1),
    metavar="N",
    help="Audio track, from 1 on, of a file with several; sedkit info lists them. Default: the file's default one.",
)
channel = click.option(
    "--channel",
    type=parameters.ChannelParameter(),
    default="mix",
    show_default=True,
    metavar="mix|left|right|N",
    help="mix is the mean of the channels, without silent ones; where the channels cancel each other, it is the "
    "loudest one.",
)
channel_or_each = click.option(
    "--channel",
    type=parameters.ChannelParameter(each=True),
    default="mix",
    show_default=True,
    metavar="mix|left|right|N|each",
    help="mix is the mean of the channels, without silent ones; where the channels cancel each other, it is the "
    "loudest one. each gives a result for every channel, named clip.wav#1, clip.wav#2, ...",
)
gain = click.option(
    "--gain",
    type=parameters.GainParameter(auto=True),
    default="0",
    show_default=True,
    metavar="auto|DB",
    help="Amplify by DB decibels. auto brings the loudest of the first 600 seconds to -20 dB, for quiet recordings "
    "(docs/levels.md).",
)
live_gain = click.option(
    "--gain",
    type=parameters.GainParameter(auto=False),
    default="0",
    show_default=True,
    metavar="DB",
    help="Amplify by DB decibels.",
)
recursive = click.option("--recursive", "-r", is_flag=True, help="Search subfolders too.")

MOST_THREADS = 1024


def check_subtitles(ctx: click.Context, param: click.Parameter, path: str | None) -> str | None:
    """The callback of ``--merge``: refuse what is no file of subtitles before the analysis."""
    if path is not None and not ctx.resilient_parsing:
        from sedkit.formats.captions import read_subtitles

        read_subtitles(path)
    return path


FORMAT_OPTIONS = (  # fields of FormatOptions, and what fills Tagging.recorded_at
    click.option("--bom", is_flag=True, help="Begin CSV and TSV with a byte order mark, which Excel needs for UTF-8."),
    click.option(
        "--escape-formulas",
        is_flag=True,
        help="In CSV and TSV, put an apostrophe before text that a spreadsheet would run as a formula (=, +, -, @).",
    ),
    click.option(
        "--absolute-time",
        is_flag=True,
        help="Add times in UTC to CSV, TSV, JSON, Parquet and Arrow. When a recording began is in its metadata or its "
        "name (AudioMoth, Song Meter and others), or given with --start.",
    ),
    click.option(
        "--start",
        type=Moment(),
        metavar="TIME",
        help="When the recording began, such as 2024-05-01T05:30:00+02:00.",
    ),
    click.option(
        "--timezone",
        type=Zone(),
        show_default="UTC",
        metavar="ZONE",
        help="Time zone of starts that are given without one, such as +02:00 or Europe/Berlin.",
    ),
    click.option(
        "--caption-style",
        type=parameters.CaptionStyle(),
        default="[{}]",
        show_default=True,
        metavar="TEXT",
        help="Text of a caption in SRT and WebVTT, with {} for the sounds.",
    ),
    click.option(
        "--merge",
        metavar="FILE",
        type=parameters.PATH,
        callback=check_subtitles,
        help="Put the captions of SRT and WebVTT between the lines of these subtitles.",
    ),
    click.option(
        "--audio",
        type=click.Choice(["auto", "embed", "link", "none"]),
        default="auto",
        show_default=True,
        help="Audio of an HTML page. embed makes one file of everything; auto embeds up to 20 MB and links to a larger "
        "recording. What browsers do not play is embedded as a small copy.",
    ),
)

SHARED = (
    classes,
    track,
    channel_or_each,
    gain,
    click.option(
        "--format",
        "-f",
        "formats",
        multiple=True,
        type=click.Choice(list(FORMATS)),
        help="Output format. Default: by the ending of --output; without --output, text on a terminal, otherwise tsv. "
        "Repeatable with a folder, or with as many --output.",
    ),
    *FORMAT_OPTIONS,
    click.option(
        "--output",
        "-o",
        metavar="FILE",
        multiple=True,
        type=parameters.PATH,
        help="Write to FILE, which appears when it is complete. Repeatable, for several formats in one run. A folder, "
        "or a name that ends in /, is an --output-dir. With --engine ray: a folder, or an address such as "
        "s3://bucket/folder.",
    ),
    click.option(
        "--plot",
        metavar="FILE",
        multiple=True,
        type=parameters.PATH,
        help="Draw the result as well, into a .png, .svg or .pdf.",
    ),
    click.option(
        "--output-dir",
        metavar="DIR",
        type=parameters.PATH,
        help="Write each --format into DIR. Formats that hold one recording get a file for each, in folders like "
        "those of the recordings.",
    ),
    click.option(
        "--recordings",
        metavar="FILE",
        type=parameters.PATH,
        help="Also write a table of all recordings, with length, sample rate, number of results and error. FILE ends "
        "in .csv, .tsv or .parquet.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Continue an earlier run with the same --output: skip recordings that are done and have not changed.",
    ),
    recursive,
    model,
    precision,
    device,
    click.option(
        "--jobs",
        "-j",
        metavar="N",
        type=click.IntRange(1, MOST_THREADS),
        help="Recordings, or pieces of a long one, to run through the model at the same time on a CPU; memory grows "
        "with N. Default: as many as the CPUs that sedkit may use can run, at most 4 for a single recording.",
    ),
    click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(1, MOST_THREADS),
        help="CPU threads of one run of the model. Default: 1 for several recordings and for small models, otherwise "
        "all CPUs that sedkit may use.",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="local uses this machine. ray uses a Ray cluster, for large archives, and writes Parquet (docs/scale.md).",
    ),
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Address of the Ray cluster. Default: $RAY_ADDRESS, otherwise a cluster that runs on this machine, "
        "otherwise a new one for this run.",
    ),
)

files = click.argument("files", nargs=-1, type=parameters.PATH)


def together(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    """A decorator that adds several options, which are listed in this order."""

    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


shared = together(*SHARED)  # tag and timeline
format_options = together(*FORMAT_OPTIONS)  # what changes how given results are written
loading = together(model, precision, device)
analysing = together(track, channel, gain, recursive, loading)  # for something else than tags and timelines


def no_files_error(ctx: click.Context) -> click.UsageError:
    """The error for a command that got no files on a terminal: usage and examples."""
    return click.UsageError(f"no FILES given, and no audio piped in.\n\n{examples(ctx)}", ctx)


def examples(ctx: click.Context) -> str:
    """The examples at the end of a command's help."""
    return inspect.cleandoc(ctx.command.help or "").partition("\b\n")[2]


def split_classes(values: Sequence[str], labels: Sequence[Label]) -> list[str] | None:
    """Split the values of ``--classes`` into class names; None if the option was not given.

    Some AudioSet names contain commas ("Baby cry, infant cry"), so the longest name that the model has wins. Names that
    the model does not have are kept; :class:`~sedkit.tagger.Tagger` refuses them.
    """
    known = {label.name.casefold() for label in labels}
    chosen: list[str] = []
    for value in read_class_files(values):
        words = [word.strip() for word in value.split(",") if word.strip()]
        while words:
            counts = range(len(words), 0, -1)
            count = next((n for n in counts if ", ".join(words[:n]).casefold() in known), 1)
            chosen.append(", ".join(words[:count]))
            words = words[count:]
    return chosen if values else None


def read_class_files(values: Iterable[str]) -> list[str]:
    """The values, with each ``@FILE`` replaced by the lines of that file.

    Raises
    ------
    click.UsageError
        If the file cannot be read or is not UTF-8.
    """
    lines: list[str] = []
    for value in values:
        if value.startswith("@"):
            try:
                lines += Path(value[1:]).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                raise click.UsageError(f"{value}: cannot be read: {reason}.") from None
        else:
            lines.append(value)
    return lines
