"""``--engine ray``: analyse recordings on a Ray cluster and write an archive (see sedkit.cluster)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli.batch import load_tagger, print_failures
from sedkit.cli.inputs import AUDIO_SUFFIXES, STDIN, expand
from sedkit.cli.messages import print_notice
from sedkit.cli.options import split_classes
from sedkit.cli.progress import Progress
from sedkit.errors import SedkitError
from sedkit.formats import Kind

if TYPE_CHECKING:
    from sedkit.cli.batch import ViewFactory
    from sedkit.cluster.archive import Report
    from sedkit.cluster.recordings import Recording
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.tagger import Tagger


def run_on_cluster(
    kind: Kind,
    make_view_factory: Callable[[Tagger, list[str] | None], ViewFactory],
    options: Mapping[str, Any],
    files: Sequence[str],
    *,
    address: str | None,
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
    """Analyse recordings on a cluster.

    Parameters and exit code: see :func:`sedkit.cli.batch.run_locally`. ``address`` is the option ``--address``.
    """
    from sedkit.cluster import engine
    from sedkit.inference.installed import find_model

    if output is None or output == "-":
        raise click.UsageError("--engine ray needs --output: a folder, or an address such as s3://bucket/folder.")
    if format_name is not None or bom:
        raise click.UsageError(f"--engine ray always writes Parquet; leave out {'--bom' if bom else '--format'}.")
    if not files or STDIN in files:
        raise click.UsageError("--engine ray cannot read standard input; name FILES.")
    engine.check_installed()
    recordings, failures = find_recordings(files, recursive)
    total = len(recordings) + len(failures)
    try:
        if recordings:
            tagger = load_tagger(find_model(model, precision, device), "cpu", threads=1)
            selected = split_classes(classes, tagger.labels)
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
                        make_view=make_view_factory(tagger, selected),
                        options={**options, "--track": track, "--channel": channel, "--classes": selected},
                        reading={"track": track, "channel": channel},
                        device=device,
                        resume=resume,
                        address=address,
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
