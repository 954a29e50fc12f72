"""``tag`` and ``timeline`` in this process: recordings in, results out as they are computed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from sedkit.audio.prefetch import AudioSource, PrefetchedRecording
from sedkit.cli.inputs import STDIN, expand, stdin
from sedkit.cli.journal import Fingerprint, fingerprint
from sedkit.cli.messages import print_error, print_notice
from sedkit.cli.options import split_classes
from sedkit.cli.output import Output, open_output, refuse_folder
from sedkit.cli.progress import Progress
from sedkit.errors import SedkitError
from sedkit.formats import FORMATS, Kind, format_of

if TYPE_CHECKING:
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.results import Tagging, Timeline
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import View

    ViewFactory = Callable[[], View[Tagging | Timeline]]

SMALL_MODEL = 10_000_000  # bytes; below this, inference on one piece of sound needs tens of MB, not hundreds
PRELOADED = ("soundfile", "soxr", "sedkit.inference.pipeline")  # imported while ONNX Runtime reads the model
MAX_PARALLEL_PIECES = 4  # of a single recording; beyond this, decoding is the bottleneck


def run_locally(
    kind: Kind,
    make_view_factory: Callable[[Tagger, list[str] | None], ViewFactory],
    options: Mapping[str, Any],
    files: Sequence[str],
    *,
    track: int | None,
    channel: str | int,
    classes: Sequence[str],
    format_name: str | None,
    bom: bool,
    output: str | None,
    resume: bool,
    recursive: bool,
    model: str | None,
    precision: Precision,
    device: Device,
) -> int:
    """Analyse recordings and write the results. A recording that fails does not stop the others.

    Parameters
    ----------
    kind : ``"tags"`` or ``"events"``.
    make_view_factory : takes the tagger and the selected classes; returns a function that makes the view of one
        recording.
    options : the command's own options, by name. With the classes and the model, they determine the results.
    files : the command's arguments; none means standard input.
    track, channel, classes, format_name, bom, output, resume, recursive, model, precision, device : the shared
        options, as given.

    Returns
    -------
    The exit code: 0, or 1 if something failed. Notices and failures are listed on standard error at the end.
    """
    from sedkit.inference.installed import find_model

    output = None if output == "-" else output
    if output is not None:
        refuse_folder(output)
    chosen_format = format_name or default_format(output)
    if resume and (output is None or chosen_format == "text"):
        raise click.UsageError("--resume needs an --output FILE in a format other than text.")
    if bom and not FORMATS[chosen_format].takes_bom:
        raise click.UsageError(f"--bom is for csv and tsv; leave it out, or choose --format csv ({chosen_format} now).")
    names, problems = expand(files or [STDIN], recursive)
    if STDIN in names:
        stdin()  # fails early if nothing is piped in
    if output is not None and any(is_same_file(name, output) for name in names):
        raise click.UsageError(f"{output} is one of the recordings; choose another --output.")
    failures = [str(problem) for problem in problems]
    notices = list[str]()
    reading = {"track": track, "channel": channel, "on_notice": notices.append}
    try:
        if names:
            path = find_model(model, precision, device)
            single = names[0] if len(names) == 1 and output is None and names[0] != STDIN else None
            prefetched = None if single is None else PrefetchedRecording(single, **reading)
            tagger = load_tagger(path, device, threads_for(path, len(names)), prefetched=prefetched)
            selected = split_classes(classes, tagger.labels)
            all_options = {**options, "--track": track, "--channel": channel, "--classes": selected, "--bom": bom}

            def settings() -> dict[str, Any]:
                return result_settings(tagger, kind, chosen_format, all_options)

            with open_output(output, chosen_format, kind, names, settings, resume, bom) as out:
                analyse_all(tagger, make_view_factory(tagger, selected), names, reading, prefetched, out, failures)
                out.complete(keep_journal=resume or bool(failures))
    finally:
        for notice in notices:
            print_notice(notice)
        print_failures(failures, total=len(names) + len(problems))
    return 1 if failures else 0


def analyse_all(
    tagger: Tagger,
    make_view: ViewFactory,
    names: Sequence[str],
    reading: Mapping[str, Any],
    prefetched: PrefetchedRecording | None,
    out: Output,
    failures: list[str],
) -> None:
    """Write the results of all recordings that have none yet; append error messages to ``failures``.

    Parameters
    ----------
    reading : arguments of :func:`sedkit.audio.reading.open_audio`.
    prefetched : the only recording, if its decoding is already under way.
    """
    from sedkit.inference.pipeline import analyse
    from sedkit.inference.session import usable_cpus

    cpus = min(MAX_PARALLEL_PIECES, usable_cpus()) if len(names) == 1 else None
    fingerprints: dict[str, Fingerprint | None] = {}  # of recordings under way, taken before they are read

    def sources() -> Iterator[AudioSource]:
        for name in names:
            now = fingerprint(name)
            if out.holds(name, now):
                progress.skip()
                continue
            fingerprints[name] = now
            progress.start_recording(name)
            yield prefetched or AudioSource(stdin() if name == STDIN else name, **reading)

    with Progress(names) as progress:
        results = analyse(tagger.model, progress.watch(make_view), sources(), cpus)
        with closing(results):
            for name, result in results:
                before = fingerprints.pop(name)
                if isinstance(result, SedkitError):
                    failures.append(failure_message(name, result))
                else:
                    with progress.hidden():
                        out.write(result, before)
                progress.finish_recording()


def failure_message(name: str, error: SedkitError) -> str:
    """The recording's name and the error. With SEDKIT_DEBUG, an error that sedkit did not expect is raised instead."""
    if error.__cause__ is not None and type(error) is SedkitError and "SEDKIT_DEBUG" in os.environ:
        raise error.__cause__
    return str(error) if str(error).startswith(name) else f"{name}: {error}"


def result_settings(tagger: Tagger, kind: Kind, format_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that determines the results, apart from the recordings."""
    import hashlib

    from sedkit.install import version

    path = tagger.model.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {
        "sedkit": version(),
        "results": kind,
        "--format": format_name,
        "--model": f"{path.name} (SHA-256 {digest})",
        "--device": tagger.device,
        **options,
    }


def is_same_file(name: str, output: str) -> bool:
    """Whether a recording is also the output file."""
    if os.path.basename(name).casefold() != os.path.basename(output).casefold():
        return False  # quick exit: there may be 100,000 recordings
    return os.path.realpath(name) == os.path.realpath(output)


def default_format(output: str | None) -> str:
    """The format when ``--format`` is not given: by the suffix of a file, text on a terminal, otherwise tsv.

    Raises
    ------
    click.UsageError
        If no format has this suffix.
    """
    if output is None:
        return "text" if sys.stdout.isatty() else "tsv"
    if not Path(output).suffix:
        return "tsv"
    format_name = format_of(output)
    if format_name is None:
        raise click.UsageError(f"{output}: no format has the suffix {Path(output).suffix}; choose one with --format.")
    return format_name


def threads_for(model: Path, recordings: int) -> int | None:
    """CPU threads of one inference call; None for all CPUs.

    Several threads that share a single-threaded session are faster than one multi-threaded session, whose threads
    synchronise at every layer. The scores are also bit-identical for any batch composition. The price is working
    memory per thread, so for a single recording this is done with small models only.
    """
    return 1 if recordings > 1 or model.stat().st_size < SMALL_MODEL else None


def load_tagger(
    model: str | Path | None,
    device: Device,
    threads: int | None = None,
    precision: Precision = "auto",
    prefetched: PrefetchedRecording | None = None,
) -> Tagger:
    """Load the tagger; its notice, if any, goes to standard error. Meanwhile, decoding of ``prefetched`` starts."""
    from sedkit.tagger import Tagger

    import_module("sedkit.inference.onnx_runtime")  # before the thread starts, which would slow this import down
    Thread(target=preload, args=[prefetched], daemon=True).start()
    tagger = Tagger(model, device, precision, threads)
    if tagger.model.notice:
        print_notice(tagger.model.notice)
    return tagger


def preload(prefetched: PrefetchedRecording | None) -> None:
    """Import what the analysis will need, then start decoding. A failed import is reported where it is needed."""
    for name in PRELOADED:
        with suppress(Exception):
            import_module(name)
    if prefetched is not None:
        prefetched.prefetch()


def print_failures(failures: Sequence[str], total: int) -> None:
    """List failures on standard error, with their number if there were several recordings."""
    for failure in failures:
        print_error(failure)
    if failures and total > 1:
        print_notice(f"{len(failures)} of {total} failed")
