"""``sedkit compare``: what differs between two results, or between two models on the same recordings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli import options, parameters
from sedkit.cli.evaluate import format_option, output, write_report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sedkit.formats.reading import Annotations
    from sedkit.tagger import Tagger


@click.command("compare")
@click.argument("a", type=parameters.PATH, metavar="A")
@click.argument("b", type=parameters.PATH, metavar="B")
@click.argument("recordings", nargs=-1, type=parameters.PATH)
@options.classes
@click.option(
    "--tolerance",
    type=parameters.Number(0, 60),
    default=0.1,
    show_default=True,
    metavar="SECONDS",
    help="Events are the same if neither their onsets nor their offsets differ by more.",
)
@click.option(
    "--threshold",
    "-t",
    type=parameters.Number(0, 1),
    default=0.5,
    show_default=True,
    metavar="SCORE",
    help="A recording has a class if its tag scores at least SCORE.",
)
@format_option
@output
@options.track
@options.channel
@options.gain
@options.recursive
@options.precision
@options.device
@click.pass_context
def command(
    ctx: click.Context,
    /,
    a: str,
    b: str,
    recordings: tuple[str, ...],
    classes: tuple[str, ...],
    tolerance: float,
    threshold: float,
    format_name: str | None,
    output: str | None,
    **reading: Any,
) -> None:
    """Show what differs between A and B: events only in one, events that moved, and scores of tags, per class.

    Without RECORDINGS, A and B are files of results or of labels, in any format that sedkit convert reads. With
    RECORDINGS, A and B are models, by name or path, which analyse them.

    \b
    Examples:
      sedkit compare before.tsv after.tsv
      sedkit compare events.tsv corrected-labels/
      sedkit compare wels-secost small recordings/ --classes Dog,Siren
      sedkit compare small mine.onnx *.wav --format json --output changes.json
    """
    from sedkit.cli.atomic import check_writable
    from sedkit.formats.reading import read_annotations
    from sedkit.judging.changes import compare, text

    if output:
        check_writable(output, [a, b, *recordings])
    code = 0
    if recordings:
        sides, code = results_of_models((a, b), recordings, classes, reading)
    else:
        sides = of_classes([read_annotations(path) for path in (a, b)], classes, (a, b))
        check_kinds(sides, (a, b))
    report = compare(sides[0], sides[1], (a, b), tolerance, threshold)
    write_report(report, text(report), format_name, output)
    ctx.exit(code)


def check_kinds(sides: Sequence[Sequence[Annotations]], paths: tuple[str, str]) -> None:
    """Refuse to compare tags with events: all of them would differ.

    Raises
    ------
    ArgumentError
        If one file has only tags, and the other only events.
    """
    from sedkit.errors import ArgumentError

    first, second = ({kind for one in side for kind in ("tags", "events") if getattr(one, kind)} for side in sides)
    if (first, second) in (({"tags"}, {"events"}), ({"events"}, {"tags"})):
        raise ArgumentError(f"{paths[0]} has {first.pop()}, and {paths[1]} {second.pop()}; compare files of one kind")


def of_classes(
    sides: Sequence[Sequence[Annotations]], classes: Sequence[str], paths: tuple[str, str]
) -> list[list[Annotations]]:
    """The annotations of both files, with the chosen classes only.

    Raises
    ------
    ArgumentError
        If neither file has a class.
    """
    from dataclasses import replace

    from sedkit.errors import ArgumentError
    from sedkit.judging.trial import some
    from sedkit.judging.vocabulary import Vocabulary

    vocabulary = Vocabulary()
    for side in sides:
        vocabulary.learn_all(side)
    labels = list(vocabulary.by_name.values())
    wanted = options.split_classes(classes, labels)
    if wanted is None:
        return [list(side) for side in sides]
    chosen = {name: vocabulary.find(name) for name in wanted}
    if missing := [name for name, label in chosen.items() if label is None]:
        known = some(vocabulary.near(missing[0]) or [label.name for label in labels]) or "none"
        raise ArgumentError(
            f"{paths[0]}, {paths[1]}: neither has the class {missing[0]}; classes that they have: {known}"
        )
    kept = set(chosen.values())
    return [
        [
            replace(
                each,
                events=tuple(event for event in each.events if vocabulary.of(event) in kept),
                tags=tuple(tag for tag in each.tags if vocabulary.of(tag) in kept),
            )
            for each in side
        ]
        for side in sides
    ]


def results_of_models(
    models: tuple[str, str], names: Sequence[str], classes: Sequence[str], reading: dict[str, Any]
) -> tuple[list[list[Annotations]], int]:
    """The results of two models for the recordings that both can analyse, and the exit code."""
    from sedkit.cli.recordings import Recordings

    found: list[dict[str, Annotations]] = []
    with Recordings(names, model=None, **reading) as recordings:
        for name in models:
            tagger = recordings.load(name)
            selected = options.split_classes(classes, tagger.labels)
            results = recordings.analyse(lambda tagger=tagger, selected=selected: both(tagger, selected), tagger.model)  # type: ignore[misc]
            found.append(dict(results))
            recordings.names = [each for each in recordings.names if each in found[-1]]  # not a failure twice
        recordings.check_any(recordings.names)
        return [[side[name] for name in recordings.names] for side in found], recordings.exit_code


def both(tagger: Tagger, classes: Sequence[str] | None) -> Any:
    """A view of one recording whose result is its tags and its events."""
    from sedkit.formats.reading import Annotations

    tags = tagger.tags_view(top_k=None, threshold=None, classes=classes, parents=True)()
    timeline = tagger.timeline_view(classes=classes, parents=True)()

    class Both:
        def add(self, samples: NDArray[np.float32], kept: slice, scores: NDArray[np.float32]) -> None:
            tags.add(samples, kept, scores)
            timeline.add(samples, kept, scores)

        def finish(self, file: str, duration: float) -> Annotations:
            events = timeline.finish(file, duration).events
            return Annotations(file, duration, events, tags.finish(file, duration).tags)

    return Both()
