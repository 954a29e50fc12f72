"""``--engine ray``: analyse recordings on a Ray cluster and write an archive (see sedkit.cluster)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.cli.batch import load_tagger, print_failures
from sedkit.cli.inputs import STDIN, expand
from sedkit.cli.messages import print_notice
from sedkit.cli.options import split_classes
from sedkit.cli.progress import Progress
from sedkit.cli.run_options import RunOptions
from sedkit.errors import SedkitError
from sedkit.formats import format_of
from sedkit.formats.writers import Kind

if TYPE_CHECKING:
    from sedkit.cli.batch import MakeViewFactory
    from sedkit.cluster.partitions import Report
    from sedkit.cluster.recordings import Recording


def run_on_cluster(
    kind: Kind,
    make_view_factory: MakeViewFactory,
    own_options: Mapping[str, Any],
    files: Sequence[str],
    options: RunOptions,
) -> int:
    """Analyse recordings on a cluster. Parameters and exit code: see :func:`sedkit.cli.batch.run_locally`."""
    from sedkit.cluster import engine
    from sedkit.inference.installed import find_model

    outputs = [*options.output, *filter(None, [options.output_dir])]
    if len(outputs) != 1 or outputs == ["-"]:
        raise click.UsageError("--engine ray needs one --output: a folder, or an address such as s3://bucket/folder.")
    local = ["formats", "plot", "recordings", "start", "timezone", *options.given_format_options()]
    for name in filter(lambda name: getattr(options, name), local):
        option = "--format" if name == "formats" else f"--{name.replace('_', '-')}"
        raise click.UsageError(f"--engine ray always writes Parquet, with seconds only; leave out {option}.")
    if options.jobs or options.threads:
        raise click.UsageError("--engine ray runs one worker per CPU or GPU; leave out --jobs and --threads.")
    if options.channel == "each":
        raise click.UsageError("--engine ray reads the mix or one channel; name it with --channel.")
    (output,) = outputs
    if options.output and format_of(output):
        raise click.UsageError(
            f"{output}: --engine ray writes a folder of Parquet files; name a folder, or an address such as "
            "s3://bucket/folder."
        )
    if not files or STDIN in files:
        raise click.UsageError("--engine ray cannot read standard input; name FILES.")
    engine.check_installed()
    recordings, failures = find_recordings(files, options.recursive)
    total = len(recordings) + len(failures)
    try:
        if recordings:
            tagger = load_tagger(find_model(options.model, options.precision, options.device), "cpu", threads=1)
            selected = split_classes(options.classes, tagger.labels)
            finished = 0
            with Progress([recording.file for recording in recordings]) as progress:

                def on_plan(remaining: int) -> None:
                    for _ in range(len(recordings) - remaining):
                        progress.skip()

                def on_report(report: Report) -> None:
                    nonlocal finished
                    finished += report.recordings
                    progress.advance(report.seconds)
                    for _ in range(report.recordings):
                        progress.finish_recording()

                try:
                    failed = engine.analyse(
                        kind,
                        recordings,
                        output,
                        model=tagger.model.path,
                        make_view=make_view_factory(tagger, selected, frozenset()),
                        options={**own_options, **options.decisive(), "--classes": selected},
                        reading=options.reading(),
                        device=options.device,
                        resume=options.resume,
                        address=options.address,
                        on_plan=on_plan,
                        on_report=on_report,
                        on_notice=print_notice,
                    )
                except BaseException:
                    if finished:
                        print_notice(f"{finished} more recordings are in {output}; --resume continues from there")
                    raise
            failures += [f"{file}: {error}" for file, error in failed]
    finally:
        print_failures(failures, total)
    return 1 if failures else 0


def find_recordings(arguments: Iterable[str], recursive: bool) -> tuple[list[Recording], list[str]]:
    """Expand files, folders, globs and addresses to recordings; also returns an error message for each that fails."""
    from sedkit.cluster.recordings import in_files, in_store
    from sedkit.cluster.storage import is_uri

    recordings: list[Recording] = []
    problems: list[str] = []
    for argument in arguments:
        try:
            if is_uri(argument):
                recordings += in_store(argument, AUDIO_SUFFIXES, recursive)
            else:
                names, errors = expand([argument], recursive)
                recordings += in_files(names)
                problems += map(str, errors)
        except SedkitError as error:
            problems.append(str(error))
    return recordings, problems
