"""``sedkit convert``: events and tags from one format to another, such as those that people corrected."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sedkit.audio.prefetch import parsed_name, path_of
from sedkit.cli import options, parameters
from sedkit.cli.clock import recorded_at
from sedkit.cli.messages import print_notice, print_unknown_starts
from sedkit.cli.output import AtomicFile, Stream
from sedkit.cli.run_options import RunOptions
from sedkit.cli.targets import Target, check_recordings, choose_targets
from sedkit.errors import ArgumentError
from sedkit.formats import FORMATS
from sedkit.formats.writers import Kind, Run

if TYPE_CHECKING:
    from sedkit.contract import Label
    from sedkit.formats.reading import Annotations
    from sedkit.results import Event, Tag, Tagging, Timeline

NEED_LENGTHS = ("json", "textgrid", "jams", "label-studio", "raven")  # formats that say how long a recording is


@click.command("convert")
@click.argument("source", metavar="IN", type=parameters.PATH)
@click.argument("output", metavar="OUT", type=parameters.PATH)
@click.option(
    "--format",
    "-f",
    "format_name",
    type=click.Choice([name for name in FORMATS if name != "dcase-scores"]),
    help="Format of OUT. Default: by its ending. Needed if OUT is a folder.",
)
@click.option("--classes", "-c", multiple=True, metavar="NAMES", help="Only these classes, separated by commas.")
@click.option("--exclude", "--skip", multiple=True, metavar="NAMES", help="Not these classes, separated by commas.")
@options.format_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: str,
    output: str,
    format_name: str | None,
    classes: tuple[str, ...],
    exclude: tuple[str, ...],
    **format_options: Any,
) -> None:
    """Convert events or tags from one format to another.

    IN is a file in one of the formats that sedkit reads (docs/formats.md), or a folder of them: its own CSV, TSV, JSON,
    Parquet and Arrow, and what Audacity, Raven, Praat, ELAN, Kaleidoscope, Label Studio, JAMS, RTTM and DCASE have. OUT
    is a file, a folder (with a / at its end), or - for standard output.

    \b
    Examples:
      sedkit convert corrected.selections.txt events.csv
      sedkit convert labels/ events.parquet
      sedkit convert events.json audacity/ --format audacity
      sedkit convert events.csv film.srt --skip Speech,Music --merge dialogue.srt
    """
    from sedkit.formats.reading import read_annotations

    named = [replace(found, file=parsed_name(found.file)) for found in read_annotations(source)]
    kind = kind_of(named, source)
    annotations = chosen(named, classes, exclude)
    run_options = RunOptions(formats=(format_name,) if format_name else (), output=(output,), **format_options)
    (target,) = choose_targets(kind, run_options)
    names = [found.file for found in annotations]
    check_recordings(kind, [target], [path_of(name) for name in names])
    run_options.check_single(len(names))
    results, unknown, unknown_starts = [], 0, 0
    for found in annotations:
        length, rate = measured(found)
        unknown += length is None
        start = recorded_at(path_of(found.file), run_options.start, run_options.timezone) or found.recorded_at
        unknown_starts += start is None
        results.append(result_of(found, kind, length, rate, start))
    if unknown and target.name in NEED_LENGTHS:
        print_notice(
            f"the length of {unknown} of {len(names)} recordings is unknown, since they are not where {source} says; "
            f"{target.name} has the end of their last event in its place"
        )
    if unknown_starts and run_options.absolute_time:
        print_unknown_starts(unknown_starts, len(names))
    write(target, Run(kind, names, options=run_options), results)


def kind_of(annotations: Sequence[Annotations], source: str) -> Kind:
    """What is converted: tags if there are no events. A notice says if tags are left out."""
    if not annotations:
        from sedkit.formats.reading import lists_tags

        return "tags" if lists_tags(source) else "events"
    tagged = sum(bool(found.tags) for found in annotations)
    if not any(found.events for found in annotations):
        return "tags" if tagged or any(found.tagged for found in annotations) else "events"
    if tagged:
        print_notice(
            f"{source}: has events and tags; the tags of {tagged} of {len(annotations)} recordings are left out, since "
            "a file holds one of both; convert them from a file without events"
        )
    return "events"


def chosen(annotations: Sequence[Annotations], classes: Sequence[str], exclude: Sequence[str]) -> Sequence[Annotations]:
    """The annotations of the classes that are asked for. A name, in any case, stands for all classes that have it.

    A class to exclude that occurs nowhere has a notice.

    Raises
    ------
    ArgumentError
        If a class to choose occurs nowhere.
    """
    from sedkit.contract import Label

    if not classes and not exclude:
        return annotations
    names = {(event.label, event.mid) for found in annotations for event in found.events}
    names |= {(tag.label, tag.mid) for found in annotations for tag in found.tags}
    labels = [Label(*name) for name in sorted(names, key=str)]
    wanted, unwanted = (options.split_classes(values, labels) or [] for values in (classes, exclude))
    if missing := absent(wanted, labels):
        raise ArgumentError(no_event_has(missing, labels))
    if missing := absent(unwanted, labels):
        print_notice(no_event_has(missing, labels))
    is_wanted, is_unwanted = has_one_of(wanted, labels), has_one_of(unwanted, labels)

    def kept(item: Event | Tag) -> bool:
        return (not classes or is_wanted(item)) and not is_unwanted(item)

    return [
        replace(found, events=tuple(filter(kept, found.events)), tags=tuple(filter(kept, found.tags)))
        for found in annotations
    ]


def absent(names: Sequence[str], labels: Sequence[Label]) -> list[str]:
    """The names that are neither the name of a class, in any case, nor a MID."""
    known = {name.casefold() for label in labels for name in (label.name, label.mid) if name}
    return [name for name in names if name.casefold() not in known]


def no_event_has(missing: Sequence[str], labels: Sequence[Label]) -> str:
    """A message about classes that occur nowhere, with those that are meant, or the first ones."""
    from difflib import get_close_matches

    names = sorted({label.name for label in labels})
    nearest = ", ".join(get_close_matches(missing[0], names, cutoff=0.5) or names[:5]) or "none"
    return f"no event has the class {', '.join(map(repr, missing))}; classes that events have: {nearest}"


def has_one_of(names: Sequence[str], labels: Sequence[Label]) -> Callable[[Event | Tag], bool]:
    """A test whether an event or tag is of a class with one of these names or MIDs."""
    folded = {name.casefold() for name in names}
    by_mid = {label.name.casefold() for label in labels if label.mid and label.mid.casefold() in folded}

    def test(item: Event | Tag) -> bool:
        name = item.label.casefold()
        return name in folded or (item.mid.casefold() in folded if item.mid else name in by_mid)

    return test


def measured(found: Annotations) -> tuple[float | None, float | None]:
    """Length in seconds and sample rate of a recording, as far as the annotations or the recording itself tell."""
    path = path_of(found.file)
    if not os.path.isfile(path):
        return found.duration, None
    from sedkit.audio.probing import probe
    from sedkit.errors import AudioError

    try:
        about = probe(path)
    except AudioError:
        return found.duration, None
    return found.duration if about.duration is None else about.duration, about.sample_rate


def result_of(
    found: Annotations, kind: Kind, length: float | None, rate: float | None, start: Any
) -> Tagging | Timeline:
    """Annotations as a result that the writers take. A timeline has events only, no cells."""
    from sedkit.contract import Label
    from sedkit.results import Tagging, Timeline

    end = length if length is not None else max((event.offset for event in found.events), default=0.0)
    if kind == "tags":
        return Tagging(found.file, end, found.tags, sample_rate=rate, recorded_at=start)
    mids = {event.label: event.mid for event in found.events}
    labels = tuple(Label(name, mid) for name, mid in mids.items())
    return Timeline(found.file, end, 1.0, (), found.events, None, labels, sample_rate=rate, recorded_at=start)


def write(target: Target, run: Run, results: Sequence[Tagging | Timeline]) -> None:
    """Write the results to the target."""
    if target.streamed:
        stream = Stream(target.writer, replace(run, path=None if target.path is None else Path(target.path)))
        stream.begin()  # a table without rows has its header, too
        for result in results:
            stream.write(result)
        stream.finish()
        stream.close()
        return
    target.place()
    by_name = {result.file: result for result in results}
    for path, names in target.paths(run.kind, run.files, run.files or [os.curdir]).items():
        if target.in_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(target.writer, replace(run, path=path, files=names)) as file:
            for name in names:
                file.write(by_name[name])
            file.commit()
