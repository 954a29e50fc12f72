"""``sedkit evaluate``: results compared with a reference."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli import options, parameters, shaping
from sedkit.cli.targets import STDOUT

if TYPE_CHECKING:
    from sedkit.judging.trial import Trial

format_option = click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice(["text", "json"]),
    help="Output format. Default: by the ending of --output; otherwise text.",
)
output = click.option(
    "--output",
    "-o",
    type=parameters.PATH,
    metavar="FILE",
    callback=lambda ctx, param, value: None if value == STDOUT else value,
    help="Write to FILE instead of standard output.",
)


@click.command("evaluate")
@click.argument("results", nargs=-1, required=True, type=parameters.PATH, metavar="RESULTS|AUDIO...")
@click.argument("reference", type=parameters.PATH, metavar="REFERENCE")
@options.classes
@click.option(
    "--bootstrap",
    type=click.IntRange(0, 100_000),
    default=200,
    show_default=True,
    metavar="N",
    help="Replicates of the bootstrap over recordings, which gives the 95 % intervals; 0 for none.",
)
@click.option(
    "--plot",
    type=parameters.PathEndingIn(".png", ".svg", ".pdf"),
    metavar="FILE",
    help="Draw the figures per class: .png, .svg or .pdf.",
)
@format_option
@output
@shaping.shaping
@options.analysing
@click.pass_context
def command(
    ctx: click.Context,
    /,
    results: tuple[str, ...],
    reference: str,
    classes: tuple[str, ...],
    bootstrap: int,
    plot: str | None,
    format_name: str | None,
    output: str | None,
    **reading: Any,
) -> None:
    """Measure how good results are: tags by mAP, mAUC and d', events by F1 and PSDS, with 95 % intervals.

    RESULTS is a file of sedkit tag or timeline, or of another system in any format that sedkit convert reads. AUDIO are
    recordings, which are analysed; this also measures all thresholds. REFERENCE are labels: DCASE or AudioSet tables,
    Audacity labels, Raven tables, JAMS and others; or a folder of them. Classes match by MID or by name. The guide
    (docs/evaluate.md) explains the figures.

    \b
    Examples:
      sedkit evaluate recordings/ labels.tsv
      sedkit evaluate events.json labels.tsv --format json --output figures.json
      sedkit evaluate recordings/ audacity-labels/ --classes Dog,Siren --plot figures.png
      sedkit evaluate recordings/ labels.tsv --postprocess tuned.toml
    """
    from sedkit.cli.atomic import check_writable
    from sedkit.judging import report as reports
    from sedkit.judging.psds_and_f1 import libraries

    shape = shaping.take(reading, *shaping.NAMES)
    libraries()
    for path in (output, plot):
        if path:
            check_writable(path, [*results, reference])
    code = 0
    if audio_given(results):
        trial, code = trial_of_model(results, reference, classes, shape, reading)
    elif len(results) > 1:
        raise click.UsageError("several RESULTS given; give one file, or a folder of files.", ctx)
    elif option := shaping.given(shape):
        raise click.UsageError(f"{option} is for AUDIO; RESULTS have their events already.", ctx)
    else:
        trial = trial_of_results(results[0], reference, classes)
    report = reports.evaluate(trial, bootstrap)
    if plot:
        draw(report, plot)
    write_report(report, reports.text(report), format_name, output)
    ctx.exit(code)


def audio_given(paths: Sequence[str]) -> bool:
    """Whether the arguments are recordings rather than results."""
    from sedkit.audio.files import AUDIO_SUFFIXES
    from sedkit.cli.inputs import expand, has_magic
    from sedkit.formats.reading import READERS

    first = paths[0]
    ending = os.path.splitext(first)[1].lower()
    if os.path.isdir(first) or has_magic(first):
        return bool(expand([first], recursive=True)[0])
    return ending in AUDIO_SUFFIXES or (len(paths) > 1 and ending not in READERS)


def trial_of_results(path: str, reference: str, classes: Sequence[str]) -> Trial:
    """The trial of a file of results."""
    from sedkit.formats.reading import read_annotations
    from sedkit.judging.trial import Reference, from_results, of_recordings
    from sedkit.judging.vocabulary import Vocabulary

    results, labels = read_annotations(path), read_annotations(reference)
    labels = of_recordings(labels, [each.file for each in results])
    results = of_recordings(results, [each.file for each in labels])
    vocabulary = Vocabulary()
    vocabulary.learn_all([*results, *labels])
    wanted = options.split_classes(classes, list(vocabulary.by_name.values()))
    return from_results(Reference.of(labels, reference, vocabulary, wanted), results, path, vocabulary)


def trial_of_model(
    names: Sequence[str], reference: str, classes: Sequence[str], shape: Mapping[str, Any], reading: dict[str, Any]
) -> tuple[Trial, int]:
    """The trial of a model on recordings, and the exit code: 1 if some could not be read."""
    from sedkit.cli.recordings import Recordings
    from sedkit.formats.reading import read_annotations
    from sedkit.judging.models import JudgedModel
    from sedkit.judging.trial import Reference, from_model, of_recordings, some
    from sedkit.judging.vocabulary import Vocabulary

    with Recordings(names, **reading) as recordings:
        labels = of_recordings(read_annotations(reference), recordings.names)
        tagger = recordings.tagger
        vocabulary = Vocabulary(tagger.labels)
        vocabulary.learn_all(labels)
        wanted = options.split_classes(classes, list(vocabulary.by_name.values()))
        given = Reference.of(labels, reference, vocabulary, wanted)
        model = JudgedModel(tagger, given.labels)
        processing = shaping.settings_of(shape, tagger)
        tagger.check_names(processing.classes)
        given = given.only(model.labels)
        detections = {
            name: model.detections(analysed, processing) for name, analysed in recordings.analyse(model.make_view)
        }
        recordings.check_any(detections)
        missing = [f"the model lacks {some(each.name for each in model.missing)}: left out"] if model.missing else []
        return from_model(given, detections, missing), recordings.exit_code


def draw(report: dict[str, Any], path: str) -> None:
    """Write the plot."""
    from sedkit.cli.atomic import replacing
    from sedkit.judging.report import plot

    with replacing(path) as temporary:
        plot(report, temporary, Path(path).suffix[1:].lower())


def write_report(report: Any, text: str, format_name: str | None, output: str | None) -> None:
    """Write a report as text or JSON, to a file or to standard output."""
    from sedkit.cli.atomic import write_text

    as_json = format_name == "json" or (format_name is None and output is not None and output.endswith(".json"))
    content = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n" if as_json else text
    if output:
        write_text(output, content)
    else:
        sys.stdout.write(content)
