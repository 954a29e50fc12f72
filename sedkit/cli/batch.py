"""``tag`` and ``timeline`` in this process: recordings in, results out as they are computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from sedkit.audio.prefetch import AudioSource, channel_names, path_of
from sedkit.cli.clock import recorded_at
from sedkit.cli.inputs import STDIN, expand, stdin
from sedkit.cli.journal import Fingerprint, fingerprint
from sedkit.cli.messages import print_error, print_notice, print_unknown_starts
from sedkit.cli.options import split_classes
from sedkit.cli.outputs import Outputs
from sedkit.cli.progress import Progress
from sedkit.cli.run_options import RunOptions
from sedkit.cli.targets import check_recordings, choose_targets
from sedkit.errors import SedkitError
from sedkit.formats.writers import Kind, Run

if TYPE_CHECKING:
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.results import Tagging, Timeline
    from sedkit.tagger import Tagger
    from sedkit.timeline.views import View

    ViewFactory = Callable[[], View[Tagging | Timeline]]
    MakeViewFactory = Callable[[Tagger, list[str] | None, frozenset[str]], ViewFactory]

SMALL_MODEL = 10_000_000  # bytes; below this, inference on one piece of sound needs tens of MB, not hundreds
PRELOADED = ("soxr", "sedkit.inference.pipeline")  # imported while ONNX Runtime reads the model
MAX_PARALLEL_PIECES = 4  # of a single recording; beyond this, decoding is the bottleneck


def run_locally(
    kind: Kind,
    make_view_factory: MakeViewFactory,
    own_options: Mapping[str, Any],
    files: Sequence[str],
    options: RunOptions,
) -> int:
    """Analyse recordings and write the results. A recording that fails does not stop the others.

    Parameters
    ----------
    kind : ``"tags"`` or ``"events"``.
    make_view_factory : takes the tagger, the selected classes and the fields of results to keep (``Writer.keeps``);
        returns a function that makes the view of one recording.
    own_options : the command's own options, by name. With the decisive ones of `options` and the model, they determine
        the results.
    files : the command's arguments; none means standard input.
    options : the shared options.

    Returns
    -------
    The exit code: 0, or 1 if something failed. Notices and failures are listed on standard error at the end.
    """
    from sedkit.inference.installed import find_model

    arguments = list(files) or [STDIN]
    targets = choose_targets(kind, options)
    names, problems = expand(arguments, options.recursive)
    if STDIN in names:
        stdin()  # fails early if nothing is piped in
    check_recordings(kind, targets, names)
    options.check_single(len(names))
    failures = {problem.name: str(problem) for problem in problems}
    if options.channel == "each":
        names = each_channel(names, options.track, failures)
        check_recordings(kind, targets, names)
    notices = list[str]()
    reading = {**options.reading(), "on_notice": notices.append}
    try:
        if names or any(target.writer.lists_failures for target in targets):
            path = find_model(options.model, options.precision, options.device)
            threads = options.threads or threads_for(path, len(names))
            tagger = load_tagger(path, options.device, threads, names=names)
            selected = split_classes(options.classes, tagger.labels)
            settings = {**own_options, **options.decisive(), "--classes": selected, "--device": tagger.device}
            keeps = frozenset[str]().union(*(target.writer.keeps for target in targets))
            make_view = make_view_factory(tagger, selected, keeps)
            run = Run(kind, names, None, tagger.contract.name, settings, options)
            with Outputs(targets, run, arguments, lambda: model_settings(tagger, kind, keeps)) as out:
                analyse_all(tagger, make_view, names, reading, out, failures, options)
                out.complete(failures)
    finally:
        for notice in notices:
            print_notice(notice)
        print_failures(list(failures.values()), total=len({*names, *failures}))
    return 1 if failures else 0


def each_channel(names: Sequence[str], track: int | None, failures: dict[str, str]) -> list[str]:
    """A name for each channel of the recordings; adds error messages to ``failures``."""
    channels = list[str]()
    for name in names:
        if name == STDIN:
            raise click.UsageError("--channel each reads a recording once per channel; save the pipe to a file first.")
        try:
            channels += channel_names(name, track)
        except SedkitError as error:
            failures[name] = failure_message(name, error)
    return channels


def analyse_all(
    tagger: Tagger,
    make_view: ViewFactory,
    names: Sequence[str],
    reading: Mapping[str, Any],
    out: Outputs,
    failures: dict[str, str],
    options: RunOptions,
) -> None:
    """Write the results of all recordings that have none yet; add error messages to ``failures``, by recording.

    Parameters
    ----------
    reading : arguments of :func:`sedkit.audio.reading.open_audio`.
    options : the shared options.
    """
    from sedkit.inference.cpus import usable_cpus
    from sedkit.inference.pipeline import analyse

    jobs = options.jobs
    if jobs is None and len(names) == 1:
        jobs = max(1, min(MAX_PARALLEL_PIECES, usable_cpus()) // tagger.model.threads)
    reads: dict[str, tuple[AudioSource, Fingerprint | None]] = {}  # under way; fingerprints from before they are read

    def sources() -> Iterator[AudioSource]:
        for name in names:
            now = fingerprint(path_of(name))
            if out.holds(name, now):
                progress.skip()
                continue
            source = AudioSource(stdin() if name == STDIN else name, **reading)
            reads[name] = source, now
            progress.start_recording(name)
            yield source

    unknown_starts = 0
    with Progress(names) as progress:
        results = analyse(tagger.model, progress.watch(make_view, tagger.model.geometry.step), sources(), jobs)
        with closing(results):
            for name, result in results:
                source, before = reads.pop(name)
                if isinstance(result, SedkitError):
                    failures[name] = failure_message(name, result)
                else:
                    start = recorded_at(path_of(name), options.start, options.timezone)
                    unknown_starts += start is None
                    described = replace(
                        result, sample_rate=source.sample_rate, recorded_at=start, truncated=source.truncated
                    )
                    with progress.hidden():
                        out.write(described, before)
                progress.finish_recording()
    if unknown_starts and options.absolute_time:
        print_unknown_starts(unknown_starts, len(names))


def failure_message(name: str, error: SedkitError) -> str:
    """The recording's name and the error. With SEDKIT_DEBUG, an error that sedkit did not expect is raised instead."""
    if error.__cause__ is not None and type(error) is SedkitError and "SEDKIT_DEBUG" in os.environ:
        raise error.__cause__
    return str(error) if str(error).startswith(name) else f"{name}: {error}"


def model_settings(tagger: Tagger, kind: Kind, keeps: frozenset[str]) -> dict[str, Any]:
    """What determines the results apart from the recordings and the options."""
    import hashlib

    from sedkit.install import version

    path = tagger.model.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    kept = {"kept": sorted(keeps)} if keeps else {}
    return {"sedkit": version(), "results": kind, "--model": f"{path.name} (SHA-256 {digest})", **kept}


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
    names: Sequence[str] = (STDIN,),
) -> Tagger:
    """Load the tagger; its notice, if any, goes to standard error. Names of recordings say which decoder to import."""
    from sedkit.tagger import Tagger

    import_module("sedkit.inference.onnx_runtime")  # before the thread starts, which would slow this import down
    decoders = () if all(name.lower().endswith(".wav") for name in names) else ("soundfile",)
    Thread(target=preload, args=[(*decoders, *PRELOADED)], daemon=True).start()
    tagger = Tagger(model, device, precision, threads)
    if tagger.model.notice:
        print_notice(tagger.model.notice)
    return tagger


def preload(modules: Iterable[str]) -> None:
    """Import what the analysis will need. A failed import is reported where it is needed."""
    for name in modules:
        with suppress(BaseException):
            import_module(name)


def print_failures(failures: Sequence[str], total: int) -> None:
    """List failures on standard error, with their number if there were several recordings."""
    for failure in failures:
        print_error(failure)
    if failures and total > 1:
        print_notice(f"{len(failures)} of {total} failed")
