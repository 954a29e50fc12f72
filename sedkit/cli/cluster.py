"""The run of ``--engine ray``: recordings in, an archive out (sedkit.cluster)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli.batch import load, report
from sedkit.cli.inputs import AUDIO, STDIN, expand
from sedkit.cli.options import split_classes
from sedkit.cli.progress import Progress
from sedkit.errors import SedkitError
from sedkit.formats import Kind

if TYPE_CHECKING:
    from sedkit.cli.batch import MakeView
    from sedkit.cluster.archive import Report
    from sedkit.cluster.recordings import Recording
    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.tagger import Tagger


def run(
    kind: Kind,
    view: Callable[[Tagger, list[str] | None], MakeView],
    options: Mapping[str, Any],
    files: Sequence[str],
    *,
    address: str | None,
    classes: Sequence[str],
    format_name: str | None,
    output: str | None,
    resume: bool,
    recursive: bool,
    model: str | None,
    precision: Precision,
    device: Device,
) -> int:
    """Analyse recordings on a cluster; parameters and exit code as of :func:`sedkit.cli.batch.run_here`."""
    from sedkit.cluster import engine
    from sedkit.inference.installed import find_model

    if output is None or output == "-":
        raise click.UsageError("--engine ray needs --output: a folder, or an address such as s3://bucket/folder.")
    if format_name is not None:
        raise click.UsageError("--engine ray writes Parquet; leave --format out.")
    if not files or STDIN in files:
        raise click.UsageError("--engine ray does not read standard input; name FILES.")
    engine.check_installed()
    recordings, failures = found(files, recursive)
    total = len(recordings) + len(failures)
    try:
        if recordings:
            tagger = load(find_model(model, precision, device), "cpu", threads=1)
            wanted = split_classes(classes, tagger.labels)
            done = 0
            with Progress([recording.file for recording in recordings]) as progress:

                def on_plan(todo: int) -> None:
                    for _ in range(len(recordings) - todo):
                        progress.skip()

                def on_done(part: Report) -> None:
                    nonlocal done
                    done += part.recordings
                    progress.heard(part.seconds)
                    for _ in range(part.recordings):
                        progress.done()

                try:
                    lost = engine.analyse(
                        kind,
                        recordings,
                        output,
                        model=tagger.model.path,
                        view=view(tagger, wanted),
                        options={**options, "--classes": wanted},
                        device=device,
                        resume=resume,
                        address=address,
                        on_plan=on_plan,
                        on_done=on_done,
                        on_notice=lambda line: click.echo(f"sedkit: {line}", err=True),
                    )
                except BaseException:
                    if done:
                        click.echo(f"sedkit: {done} more recordings are in {output}; --resume goes on", err=True)
                    raise
            failures += [f"{file}: {error}" for file, error in lost]
    finally:
        report(failures, total)
    return 1 if failures else 0


def found(files: Iterable[str], recursive: bool) -> tuple[list[Recording], list[str]]:
    """The recordings meant by files, folders, globs and addresses, and what is wrong with the rest."""
    from sedkit.cluster.recordings import in_files, in_store
    from sedkit.cluster.storage import is_uri

    recordings: list[Recording] = []
    problems: list[str] = []
    for name in files:
        try:
            if is_uri(name):
                recordings += in_store(name, AUDIO, recursive)
            else:
                names, wrong = expand([name], recursive)
                recordings += in_files(names)
                problems += map(str, wrong)
        except SedkitError as error:
            problems.append(str(error))
    return recordings, problems
