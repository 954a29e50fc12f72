"""The run that ``tag`` and ``timeline`` share: recordings in, results out as they come."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from sedkit.audio.prefetch import Begun
from sedkit.cli.inputs import STDIN, expand, stdin
from sedkit.cli.journal import Fingerprint, fingerprint
from sedkit.cli.options import split_classes
from sedkit.cli.output import Output, open_output
from sedkit.cli.progress import Progress
from sedkit.errors import SedkitError
from sedkit.formats import FORMATS, Kind, format_of

if TYPE_CHECKING:
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.results import Tagging, Timeline
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import View

    MakeView = Callable[[], View[Tagging | Timeline]]

SMALL = 10_000_000  # bytes of a model whose pieces need tens of MB each, and not hundreds
LATER = ("soundfile", "soxr", "sedkit.inference.pipeline")  # imported while ONNX Runtime reads the model
LANES = 4  # pieces of a single recording side by side, at most; then decoding is the slower part


def run_here(
    kind: Kind,
    view: Callable[[Tagger, list[str] | None], MakeView],
    options: Mapping[str, Any],
    files: Sequence[str],
    *,
    classes: Sequence[str],
    format_name: str | None,
    output: str | None,
    resume: bool,
    recursive: bool,
    model: str | None,
    precision: Precision,
    device: Device,
) -> int:
    """Analyse recordings and write what is found; a recording that fails does not stop the others.

    Parameters
    ----------
    kind : what is found.
    view : takes the tagger and the chosen classes, and gives what makes a recording's result.
    options : the command's own options, as given: what results depend on besides the classes and the model.
    files : what stands on the command line; nothing means standard input.
    classes, format_name, output, resume, recursive, model, precision, device : the options, as given.

    Returns
    -------
    The exit code: 0, or 1 if something failed, which is listed on standard error at the end.
    """
    from sedkit.inference.installed import find_model

    output = None if output == "-" else output
    chosen_format = format_name or default_format(output)
    if resume and (output is None or not FORMATS[chosen_format].resumable):
        raise click.UsageError("--resume needs an --output FILE in a format other than text.")
    names, problems = expand(files or [STDIN], recursive)
    if STDIN in names:
        stdin()  # is it there?
    if output is not None and any(is_same_file(name, output) for name in names):
        raise click.UsageError(f"{output} is one of the recordings; choose another --output.")
    failures = [str(problem) for problem in problems]
    try:
        if names:
            path = find_model(model, precision, device)
            alone = names[0] if len(names) == 1 and output is None and names[0] != STDIN else None
            begun = None if alone is None else Begun(alone)
            tagger = load(path, device, threads_for(path, len(names)), begun=begun)
            wanted = split_classes(classes, tagger.labels)
            made_with = {**options, "--classes": wanted}
            with open_output(
                output, chosen_format, kind, names, lambda: lineage(tagger, kind, chosen_format, made_with), resume
            ) as out:
                analyse_all(tagger, view(tagger, wanted), names, begun, out, failures)
                out.complete(keep_journal=resume or bool(failures))
    finally:
        report(failures, total=len(names) + len(problems))
    return 1 if failures else 0


def analyse_all(
    tagger: Tagger, view: MakeView, names: Sequence[str], begun: Begun | None, out: Output, failures: list[str]
) -> None:
    """Write the results of all recordings that have none yet; add what went wrong to ``failures``.

    ``begun``: the only recording, where its decoding goes on already.
    """
    from sedkit.inference.pipeline import analyse
    from sedkit.inference.session import usable_cpus

    cpus = min(LANES, usable_cpus()) if len(names) == 1 else None
    read: dict[str, Fingerprint | None] = {}

    def sources() -> Iterator[str | BinaryIO | Begun]:
        for name in names:
            now = fingerprint(name)
            if out.holds(name, now):
                progress.skip()
                continue
            read[name] = now
            progress.begin(name)
            yield begun or (stdin() if name == STDIN else name)

    with Progress(names) as progress:
        results = analyse(tagger.model, progress.watched(view), sources(), cpus)
        with closing(results):
            for name, result in results:
                before = read.pop(name)
                if isinstance(result, SedkitError):
                    failures.append(explained(name, result))
                else:
                    with progress.hidden():
                        out.write(result, before)
                progress.done()


def explained(name: str, error: SedkitError) -> str:
    """Which recording failed, and why; with SEDKIT_DEBUG a fault of ours is raised instead."""
    if error.__cause__ is not None and type(error) is SedkitError and "SEDKIT_DEBUG" in os.environ:
        raise error.__cause__
    return str(error) if str(error).startswith(name) else f"{name}: {error}"


def lineage(tagger: Tagger, kind: Kind, format_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that results depend on, apart from the recordings."""
    from sedkit import __version__

    path = tagger.model.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {
        "sedkit": __version__,
        "results": kind,
        "--format": format_name,
        "--model": f"{path.name} (SHA-256 {digest})",
        "--device": tagger.device,
        **options,
    }


def is_same_file(name: str, output: str) -> bool:
    """Whether a recording is the file that results are to go to."""
    if os.path.basename(name).casefold() != os.path.basename(output).casefold():
        return False  # quickly, of a hundred thousand
    return os.path.realpath(name) == os.path.realpath(output)


def default_format(output: str | None) -> str:
    """What suits the place where results go: text for a person, what the ending says for a file, tsv without one.

    Raises
    ------
    click.UsageError
        If the ending is none that sedkit knows.
    """
    if output is None:
        return "text" if sys.stdout.isatty() else "tsv"
    if not Path(output).suffix:
        return "tsv"
    if (known := format_of(output)) is None:
        raise click.UsageError(f"{output}: no format has the ending {Path(output).suffix}; choose one with --format.")
    return known


def threads_for(model: Path, recordings: int) -> int | None:
    """CPU threads of one run of a model; None for all.

    A session of one thread that several threads share is faster than one of several threads, which wait for each
    other at every layer, and gives the same bits whatever shares a batch; but each of them needs memory for a piece.
    For a single recording that is worth it with a small network only.
    """
    return 1 if recordings > 1 or model.stat().st_size < SMALL else None


def load(
    model: str | Path | None,
    device: Device,
    threads: int | None = None,
    precision: Precision = "auto",
    begun: Begun | None = None,
) -> Tagger:
    """The tagger; what it has to say goes to standard error. Meanwhile ``begun`` is begun."""
    from sedkit.tagger import Tagger

    import_module("onnxruntime")  # before the thread, which would hold it up
    Thread(target=meanwhile, args=[begun], daemon=True).start()
    tagger = Tagger(model, device, precision, threads)
    if tagger.model.notice:
        click.echo(f"sedkit: {tagger.model.notice}", err=True)
    return tagger


def meanwhile(begun: Begun | None) -> None:
    """Import what the analysis will need, what cannot be imported is told where it is needed; begin to decode."""
    for name in LATER:
        with suppress(Exception):
            import_module(name)
    if begun is not None:
        begun.begin()


def report(failures: Sequence[str], total: int) -> None:
    """List what failed, on standard error."""
    for failure in failures:
        click.echo(f"sedkit: error: {' '.join(failure.split())}", err=True)
    if failures and total > 1:
        click.echo(f"sedkit: {len(failures)} of {total} failed", err=True)
