"""``sedkit extract``: the events of recordings as audio files."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from sedkit.audio.prefetch import ChannelName, channel_of, parsed_name, path_of
from sedkit.cli import options, parameters, shaping

if TYPE_CHECKING:
    from sedkit.cli.clips import ClipFolder
    from sedkit.cli.recordings import Recordings
    from sedkit.results import Event

ONE_CELL = 86_400.0  # seconds; the cells of a timeline's grid are not used here
Found = tuple[str, "Sequence[Event]"]  # a recording and its events


@click.command("extract")
@click.argument("recordings", nargs=-1, type=parameters.PATH)
@click.option(
    "--output",
    "-o",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write the clips to FOLDER, into a folder per class, and their table to FOLDER/clips.tsv.",
)
@options.classes
@click.option(
    "--from",
    "events_from",
    type=parameters.PATH,
    metavar="EVENTS",
    help="Cut these events instead of looking for them: a result of sedkit timeline, or labels in any format that "
    "sedkit convert reads. Without RECORDINGS, those that EVENTS names.",
)
@click.option(
    "--pad",
    type=parameters.Number(0, 3600),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="Sound to keep before and after each event.",
)
@click.option("--min-score", type=parameters.Number(0, 1), metavar="SCORE", help="Only events of at least this score.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="At most N clips per class, those of the highest scores. All recordings are analysed before the first is cut.",
)
@shaping.shaping
@options.analysing
@click.pass_context
def command(
    ctx: click.Context,
    /,
    recordings: tuple[str, ...],
    folder: Path,
    classes: tuple[str, ...],
    events_from: str | None,
    pad: float,
    min_score: float | None,
    limit: int | None,
    **reading: Any,
) -> None:
    """Cut the events out of recordings: audio files, with a table of where each comes from.

    The clips have the recording's own rate and channels. Those of WAV, FLAC and other PCM files hold the very samples
    of the recording; those of compressed files are FLAC. Clips that are there and newer than their recording are kept,
    so an interrupted command continues.

    RECORDINGS are files in any format, folders or globs.

    \b
    Examples:
      sedkit extract recordings/ --classes Dog --pad 0.5 --output clips/
      sedkit extract film.mkv --classes "Siren,Explosion" --min-score 0.5 --limit 20 --output clips/
      sedkit timeline recordings/ --output events.tsv
      sedkit extract --from events.tsv --classes Dog --output clips/
    """
    if not recordings and not events_from:
        raise click.UsageError(f"no RECORDINGS given.\n\n{options.examples(ctx)}", ctx)
    shape = shaping.take(reading, *shaping.NAMES)
    if events_from and (option := shaping.given(shape)):
        raise click.UsageError(f"{option} is for finding events, but --from gives them; leave one out.", ctx)
    from sedkit.cli.clips import ClipFolder
    from sedkit.cli.messages import print_notice
    from sedkit.cli.recordings import Recordings

    if events_from:
        table = EventTable(events_from, classes)
        names = recordings or table.recordings()
    else:
        table, names = None, recordings
    with Recordings(names, **reading) as opened:
        leave_out_clips(opened, names, folder)
        if opened.names:
            found = table.of(opened) if table else analysed(opened, classes, shape)
            chosen = above(found, min_score or 0.0)
            with ClipFolder(folder, opened.reading["track"]) as clips:
                for name, events in strongest(chosen, limit) if limit else chosen:
                    cut(name, events, pad, clips, opened)
            number = len(clips.written)
            if number or len(opened.failures) < opened.total:
                print_notice(
                    f"{number} clips written to {folder}" + (f", {clips.present} kept" if clips.present else "")
                )
    ctx.exit(opened.exit_code)


def leave_out_clips(opened: Recordings, arguments: Sequence[str], folder: Path) -> None:
    """Leave out what was found in the folder of the clips: those of earlier runs, and all else if it was not named."""
    from sedkit.cli.clips import PARTIAL, TABLE, read
    from sedkit.cli.messages import print_notice

    if not os.path.exists(folder):
        return
    given, clips = set(arguments), set[str]()
    with suppress(OSError):  # which ClipFolder reports
        clips = {os.path.realpath(folder / clip.clip) for name in (TABLE, PARTIAL) for clip in read(folder / name)}
    inside = os.path.join(os.path.realpath(folder), "")
    named = any(os.path.join(os.path.realpath(argument), "").startswith(inside) for argument in given)

    def is_clip(name: str) -> bool:
        path = os.path.realpath(name)
        return name not in given and (path in clips or (not named and path.startswith(inside)))

    found = opened.names
    opened.names = [name for name in found if not is_clip(name)]
    if left_out := len(found) - len(opened.names):
        opened.total -= left_out
        print_notice(f"{folder}: {left_out} recordings in it are left out, since it is the folder of the clips")


class EventTable:
    """The events of ``--from``.

    Parameters
    ----------
    path : of a file of events, or a folder of such files.
    classes : the option ``--classes``; names or MIDs that the table has.

    Raises
    ------
    SedkitError
        If it cannot be read, holds no events, or has none of a class.
    """

    def __init__(self, path: str, classes: Sequence[str]) -> None:
        from sedkit.contract import Label
        from sedkit.errors import ArgumentError
        from sedkit.formats.reading import read_annotations

        self.path = path
        self.events = {each.file: each.events for each in read_annotations(path)}
        labels = {(event.label, event.mid) for events in self.events.values() for event in events}
        if not labels:
            raise ArgumentError(f"{path}: has no events; give the result of sedkit timeline")
        wanted = options.split_classes(classes, [Label(*label) for label in labels])
        if wanted is not None:
            known = {name.casefold() for label in labels for name in label if name}
            if missing := [name for name in wanted if name.casefold() not in known]:
                raise ArgumentError(
                    f"{path}: has no event of {missing[0]}; it has {listed(name for name, _ in labels)}"
                )
            folded = {name.casefold() for name in wanted}
            self.events = {
                file: tuple(
                    event for event in events if folded & {event.label.casefold(), (event.mid or "").casefold()}
                )
                for file, events in self.events.items()
            }

    def recordings(self) -> list[str]:
        """Paths of the recordings that the table names, relative to this folder or to that of the table."""
        beside = Path(self.path).parent
        places = [(file, str(beside / file)) for file, events in self.events.items() if events]
        found = [[path_of(parsed_name(place)) for place in each] for each in places]
        return list(dict.fromkeys(here if Path(here).exists() else there for here, there in found))

    def of(self, opened: Recordings) -> Iterator[Found]:
        """The recordings that have events, or their channels, each with its events."""
        from sedkit.cli.progress import Progress
        from sedkit.errors import ArgumentError
        from sedkit.judging.pairing import channels_among, pair

        entries = dict[str, list[str]]()  # of the table, by recording: itself, or its channels
        for entry in channels_among(self.events, opened.names).values():
            entries.setdefault(path_of(entry), []).append(entry)
        pairs = pair(opened.names, entries, self.path)
        if not pairs:
            raise ArgumentError(f"{self.path}: names none of these recordings; it names {listed(self.events)}")
        with Progress(list(pairs)) as progress:
            for name, key in pairs.items():
                progress.start_recording(name)
                for entry in entries[key]:
                    channel = channel_of(entry)
                    yield name if channel is None else ChannelName(name, channel), self.events[entry]
                progress.finish_recording()


def analysed(opened: Recordings, classes: Sequence[str], shape: Mapping[str, Any]) -> Iterator[Found]:
    """The recordings with the events that the model finds."""
    selected = options.split_classes(classes, opened.tagger.labels)
    settings = shaping.settings_of(shape, opened.tagger)
    make_view = opened.tagger.timeline_view(classes=selected, postprocessing=settings, resolution=ONE_CELL)
    for name, timeline in opened.analyse(make_view):
        yield name, timeline.events


def above(found: Iterable[Found], min_score: float) -> Iterator[Found]:
    """Only the events of at least this score."""
    for name, events in found:
        yield name, [event for event in events if event.score >= min_score]


class Ranked(NamedTuple):
    """An event in a heap: of equal scores, the later one goes first."""

    score: float
    age: int
    name: str
    event: Event


def strongest(found: Iterable[Found], limit: int) -> Iterator[Found]:
    """Only the ``limit`` events of the highest scores of each class, over all recordings."""
    heaps = dict[str, list[Ranked]]()
    age = 0
    for name, events in found:
        for event in events:
            age -= 1
            heap = heaps.setdefault(event.label, [])
            heapq.heappush(heap, Ranked(event.score, age, name, event))
            if len(heap) > limit:
                heapq.heappop(heap)
    by_name: dict[str, list[Event]] = {}
    for ranked in sorted((each for heap in heaps.values() for each in heap), key=lambda each: -each.age):
        by_name.setdefault(ranked.name, []).append(ranked.event)
    yield from by_name.items()


def cut(name: str, events: Sequence[Event], pad: float, clips: ClipFolder, opened: Recordings) -> None:
    """Cut the events of one recording that have no clip yet; a failure goes to ``opened.failures``."""
    from sedkit.audio.cutting import Part, open_cutter
    from sedkit.errors import AudioError, OutputError

    if not events:
        return
    try:
        with open_cutter(path_of(name), lambda notice: None, opened.reading["track"]) as cutter:
            check_channel(name, cutter.channels)
            parts: dict[Part, Event] = {}
            for event in events:
                end = min(event.offset + pad, cutter.duration or float("inf"))
                start = max(0.0, event.onset - pad)
                if event.onset == event.offset and not pad:
                    opened.failures.append(
                        f"{name}: the event at {event.onset:.3f} s ({event.label}) has no length; give --pad, to cut "
                        "the sound around it"
                    )
                elif start >= end:
                    opened.failures.append(
                        f"{name}: has no sound at {event.onset:.3f} s ({event.label}): the recording ends at "
                        f"{cutter.duration:.3f} s; check that the events are those of this recording"
                    )
                elif path := clips.add(name, event, start, end, cutter.suffix):
                    parts[Part(start, end, path)] = event
            for part in cutter.cut(list(parts)):
                clips.written.append(part.path)
                del parts[part]
            for part in parts:
                opened.failures.append(f"{name}: ends before {part.start:.3f} s; it is shorter than its header says")
    except AudioError as error:
        opened.failures.append(str(error))
    except OutputError as error:  # which names the clip
        opened.failures.append(f"{name}: {error}")


def check_channel(name: str, channels: int) -> None:
    """Refuse the name of a channel that a recording does not have.

    Raises
    ------
    AudioError
        If the number in the name is above ``channels``, those of the recording.
    """
    from sedkit.errors import AudioError

    channel = channel_of(name)
    if channel is not None and channel > channels:
        has = "one channel" if channels == 1 else f"{channels} channels"
        raise AudioError(f"{name}: the recording has {has}; check that the events are those of it")


def listed(names: Iterable[str]) -> str:
    """The first names, for an error message."""
    first = sorted(set(names))
    return ", ".join(first[:5]) + (", ..." if len(first) > 5 else "")
