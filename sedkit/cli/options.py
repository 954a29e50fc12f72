"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem

from sedkit.formats import FORMATS

if TYPE_CHECKING:
    from sedkit.contract import Label

Function = TypeVar("Function", bound=Callable[..., object])


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of installed models, then files."""
    from sedkit.inference.installed import names

    known = [name for name in names() if name.startswith(incomplete)]
    return [CompletionItem(name) for name in known] + [CompletionItem(incomplete, type="file")]


classes = click.option(
    "--classes",
    "-c",
    multiple=True,
    metavar="NAMES",
    help="Only these classes: AudioSet names or MIDs, separated by commas; repeatable. @FILE reads them from a "
    "file, one a line.",
)
model = click.option(
    "--model",
    "-m",
    metavar="NAME|PATH",
    shell_complete=complete_model,
    help="An installed model by its name, full or short (see sedkit models), or an ONNX file.",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
    default="auto",
    show_default=True,
    help="What to compute on; auto takes CUDA where it works, else the CPU.",
)
precision = click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "int8"]),
    default="auto",
    show_default=True,
    help="Arithmetic: fp32 is the model as trained, int8 a faster form for CPUs. auto takes int8 on a CPU if it is "
    "installed and was measured to lose next to nothing (sedkit info says what); a --model file it takes as it is.",
)
SHARED = (
    classes,
    click.option(
        "--format",
        "-f",
        "format_name",
        type=click.Choice(list(FORMATS)),
        help="Default: text on a terminal, elsewhere tsv, with --output what its ending asks for.",
    ),
    click.option(
        "--output",
        "-o",
        metavar="FILE",
        type=click.Path(),
        help="Write to FILE, which appears under its name when it is complete. With --engine ray: a folder, or an "
        "address such as s3://bucket/folder.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on where an earlier run with this --output ended: recordings that are done and have not changed are "
        "not analysed again.",
    ),
    click.option("--recursive", "-r", is_flag=True, help="Look in the folders below a folder as well."),
    model,
    precision,
    device,
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="local is this process; ray is a Ray cluster, for archives, which writes Parquet (docs/scale.md).",
    ),
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Of the Ray cluster. Default: $RAY_ADDRESS, else the one on this machine, else one made for the run.",
    ),
)

files = click.argument("files", nargs=-1, type=click.Path())


def shared(function: Function) -> Function:
    """Add the options that ``tag`` and ``timeline`` have in common."""
    for option in reversed(SHARED):
        function = option(function)
    return function


def explained(ctx: click.Context) -> click.UsageError:
    """What to say to somebody at a terminal who gave no files: usage and examples."""
    examples = inspect.cleandoc(ctx.command.help or "").partition("\b\n")[2]
    return click.UsageError(f"no FILES, and no audio piped in.\n\n{examples}", ctx)


def split_classes(values: Sequence[str], labels: Sequence[Label]) -> list[str] | None:
    """What ``--classes`` names, one a class; None if it was not given.

    AudioSet's names hold commas ("Baby cry, infant cry"): where a list can be read in several ways, the longest name
    that the model knows wins. A name that it does not know is left for :class:`~sedkit.tagger.Tagger` to refuse.
    """
    known = {label.name.casefold() for label in labels}
    chosen: list[str] = []
    for value in spelled_out(values):
        words = [word.strip() for word in value.split(",") if word.strip()]
        while words:
            counts = range(len(words), 0, -1)
            count = next((n for n in counts if ", ".join(words[:n]).casefold() in known), 1)
            chosen.append(", ".join(words[:count]))
            words = words[count:]
    return chosen if values else None


def spelled_out(values: Iterable[str]) -> list[str]:
    """The values, with ``@FILE`` replaced by the lines of that file."""
    lines: list[str] = []
    for value in values:
        if value.startswith("@"):
            try:
                lines += Path(value[1:]).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
                raise click.BadParameter(f"{value[1:]}: cannot be read: {reason}.", param_hint="'--classes'") from None
        else:
            lines.append(value)
    return lines
