"""``sedkit tune``: the settings of events that serve labelled recordings best."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from sedkit.cli import options, parameters


@click.command("tune")
@click.argument("recordings", nargs=-1, type=parameters.PATH, metavar="LABELLED...")
@click.option(
    "--labels",
    "-l",
    "reference",
    type=parameters.PATH,
    metavar="REFERENCE",
    help="Labels of the events, in any format that sedkit convert reads, or a folder of them. Default: in the folder "
    "LABELLED, beside the recordings.",
)
@click.option(
    "--output",
    "-o",
    type=parameters.PATH,
    metavar="TOML",
    help="Write the settings to TOML, and the figures to standard output. Default: settings to standard output.",
)
@click.option(
    "--metric",
    type=click.Choice(["event-f1", "segment-f1"]),
    default="event-f1",
    show_default=True,
    help="What to maximise: event-f1 asks for the right onset (0.2 s) and offset, segment-f1 for the right seconds.",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    metavar="N",
    help="Parts of the recordings in the cross-validation; at most as many as there are recordings.",
)
@click.option(
    "--json", "json_file", type=parameters.PATH, metavar="FILE", help="Also write settings and figures as JSON."
)
@options.classes
@options.analysing
@click.pass_context
def command(
    ctx: click.Context,
    /,
    recordings: tuple[str, ...],
    reference: str | None,
    output: str | None,
    metric: str,
    folds: int,
    json_file: str | None,
    classes: tuple[str, ...],
    **reading: Any,
) -> None:
    """Choose thresholds and other settings of events on your own labelled recordings.

    The settings are chosen on all recordings. The figures are honest: each recording is judged with settings that were
    chosen without it (cross-validation). List recordings without events in the labels, too: they show false alarms.

    \b
    Examples:
      sedkit tune labelled/ --output mine.toml
      sedkit tune recordings/ --labels labels.tsv --output mine.toml --classes Dog,Siren
      sedkit timeline other.wav --postprocess mine.toml
      sedkit evaluate others/ other-labels.tsv --postprocess mine.toml
    """
    if not recordings:
        raise click.UsageError(f"no LABELLED recordings given.\n\n{options.examples(ctx)}", ctx)
    if reference is None and len(recordings) > 1:
        raise click.UsageError("--labels is missing; only a single folder can hold the labels itself.", ctx)
    from sedkit.cli.atomic import check_writable, write_text
    from sedkit.cli.targets import STDOUT
    from sedkit.judging.psds_and_f1 import libraries

    output = None if output == STDOUT else output
    if output and json_file and os.path.realpath(output) == os.path.realpath(json_file):
        raise click.UsageError("--output and --json name the same file.", ctx)
    libraries()
    for path in (output, json_file):
        if path:
            check_writable(path, [*recordings, *([reference] if reference else [])])
    report, code = tune(recordings, reference or recordings[0], metric, folds, classes, reading)
    settings = header(report) + report["toml"]
    if json_file:
        write_text(json_file, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    if output:
        write_text(output, settings)
        sys.stdout.write(text(report))
    else:
        click.echo(text(report), err=True, nl=False)
        sys.stdout.write(settings)
    ctx.exit(code)


def tune(
    names: Sequence[str],
    reference: str,
    metric: str,
    number: int,
    classes: Sequence[str],
    reading: dict[str, Any],
) -> tuple[dict[str, Any], int]:
    """Settings and figures, and the exit code: 1 if some recordings could not be read."""
    import numpy as np

    from sedkit.cli.recordings import Recordings
    from sedkit.errors import ArgumentError
    from sedkit.formats.reading import read_annotations
    from sedkit.judging.models import JudgedModel
    from sedkit.judging.pairing import pair
    from sedkit.judging.trial import Reference, some
    from sedkit.judging.tuning import Labelled, Search, cross_validated, gain, judged, toml_over
    from sedkit.judging.vocabulary import Vocabulary

    annotations = read_annotations(reference)
    with Recordings(names, **reading) as recordings:
        recordings.check_any(recordings.names)
        vocabulary = Vocabulary(recordings.tagger.labels)
        vocabulary.learn_all(annotations)
        wanted = options.split_classes(classes, list(vocabulary.by_name.values()))
        given = Reference.of(annotations, reference, vocabulary, wanted)
        if not given.strong:
            raise ArgumentError(f"{reference}: has no events; tuning needs labels with onset and offset")
        model = JudgedModel(recordings.tagger, given.labels)
        given = given.only(model.labels)
        pairs = pair(recordings.names, given.spans, reference)
        if not pairs:
            raise ArgumentError(
                f"{reference}: is about {some(given.spans)}, not about {some(recordings.names)}; give their labels"
            )
        if len(pairs) < 2:
            raise ArgumentError(f"{reference}: has labels of one recording; tuning needs two or more")
        notes = [f"the model lacks {some(each.name for each in model.missing)}: left out"] if model.missing else []
        if unlabelled := len(recordings.names) - len(pairs):
            notes.append(f"{unlabelled} recordings have no labels: left out; list those without events there, too")
        recordings.names = list(pairs)
        labelled = [
            Labelled(name, analysed, given.spans[pairs[name]]) for name, analysed in recordings.analyse(model.make_view)
        ]
        recordings.check_any(labelled)
        if len(labelled) < 2 or not any(each.truth for each in labelled):
            raise ArgumentError("fewer than two recordings could be analysed, or none with an event; tuning needs them")
        thresholds = np.array(model.tagger.contract.timeline_thresholds)[model.columns]
        number = min(number, len(labelled))
        base = model.tagger.post_processing()
        search = Search(labelled, model.labels, thresholds, metric, base)
        with waiting("choosing settings"):
            held_out = cross_validated(search, number)
            settings = search.best(np.ones(len(labelled), bool))
        before = judged(labelled, [base] * len(labelled), model.labels, thresholds)
        after = judged(labelled, held_out, model.labels, thresholds)
        own = judged(labelled, [settings] * len(labelled), model.labels, thresholds)
        report = {
            "model": model.tagger.contract.name,
            "metric": metric,
            "recordings": len(labelled),
            "events": sum(len(each.truth) for each in labelled),
            "classes": [label.name for label in model.labels],
            "folds": number,
            "held_out": gain(before, after, [each.name for each in labelled], 1000),
            "on_these_recordings": {name: own[name][0] for name in own},
            "toml": toml_over(settings, base),
            "notes": notes,
        }
        return report, recordings.exit_code


@contextmanager
def waiting(message: str) -> Iterator[None]:
    """Show a message on standard error while the block runs, if that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(message):
        yield


def text(report: dict[str, Any]) -> str:
    """The figures for reading."""
    from sedkit.judging.report import aligned, bounds, number

    head = ["", "model", "", "tuned", "", "gain", ""]
    rows = [
        [name, *(cell for side in ("model", "tuned", "gain") for cell in (number(row[side]), bounds(row[side])))]
        for name, row in report["held_out"].items()
    ]
    gained = report["held_out"][report["metric"]]["gain"]
    lines = [
        f"{report['recordings']} recordings, {report['events']} events of {len(report['classes'])} classes; "
        f"held out, {report['folds']} folds, with 95 % intervals:",
        "",
        *aligned([head, *rows]),
        "",
    ]
    if gained["value"] <= 0:
        lines.append("The tuned settings are no better than the model's on recordings they were not tuned on.")
    elif gained["interval"] and gained["interval"][0] <= 0:
        lines.append("The gain may be chance; more labelled recordings would tell.")
    lines += [f"Note: {note}." for note in report["notes"]]
    return "\n".join(lines).rstrip() + "\n"


def header(report: dict[str, Any]) -> str:
    """Where the settings come from, as comments in the TOML file."""
    from sedkit.judging.report import number

    held_out = report["held_out"][report["metric"]]
    counted = f"{report['recordings']} recordings, {report['events']} events"
    return (
        f"# Settings of sedkit tune for the model {report['model']}, from {counted}.\n"
        f"# {report['metric']} on held-out recordings: {number(held_out['tuned'])}; "
        f"with the model's settings: {number(held_out['model'])}.\n\n"
    )
