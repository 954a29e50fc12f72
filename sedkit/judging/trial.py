"""What is judged: recordings with a reference, and what a system says about them.

A *trial* pairs each recording of a reference with the results for it, and the classes of one with those of the other.
Results come from a file (:func:`from_results`) or from a model (:func:`from_model`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from sedkit.audio.prefetch import parsed_name, path_of
from sedkit.audio.probing import probe
from sedkit.contract import Label
from sedkit.errors import ArgumentError, AudioError
from sedkit.formats.reading import Annotations
from sedkit.formats.reading.annotations import collected
from sedkit.judging.pairing import channels_among, pair
from sedkit.judging.psds_and_f1 import UNLISTED, Detections, Spans
from sedkit.judging.vocabulary import Vocabulary
from sedkit.results import Event, Tag


@dataclass(frozen=True)
class Reference:
    """Labels of recordings.

    Attributes
    ----------
    where : the file, for error messages.
    labels : the classes that occur.
    strong : whether there are events; otherwise only classes of whole recordings.
    spans : events of each recording, by name; joined where those of a class overlap or touch.
    present : classes of each recording, by name: those of its events and of its tags.
    durations : in seconds, by name, where the file says so.
    """

    where: str
    labels: tuple[Label, ...]
    strong: bool
    spans: dict[str, Spans]
    present: dict[str, set[int]]
    durations: dict[str, float]

    @classmethod
    def of(
        cls,
        annotations: Sequence[Annotations],
        where: str,
        vocabulary: Vocabulary,
        classes: Iterable[str] | None = None,
    ) -> Reference:
        """The reference in annotations.

        Parameters
        ----------
        vocabulary : learns the classes.
        classes : names or MIDs of the classes to judge; None for all.

        Raises
        ------
        ArgumentError
            If there is nothing to compare with, or no such class.
        """
        vocabulary.learn_all(annotations)
        found = {vocabulary.of(item): None for each in annotations for item in items_of(each)}
        labels = tuple(sorted(found, key=lambda label: label.name.casefold()))
        if classes is not None:
            chosen = {vocabulary.find(name) or Label(name) for name in classes}
            if missing := [label.name for label in chosen if label not in labels]:
                raise ArgumentError(
                    f"{where}: has no label {missing[0]}; it has {some(label.name for label in labels)}"
                )
            labels = tuple(label for label in labels if label in chosen)
        if not labels:
            raise ArgumentError(f"{where}: has no labels; give a file of events or of classes of recordings")
        column = {label: number for number, label in enumerate(labels)}
        spans, present, durations = dict[str, Spans](), dict[str, set[int]](), dict[str, float]()
        for each in annotations:
            events = [(event.onset, event.offset, column.get(vocabulary.of(event), -1)) for event in each.events]
            spans[each.file] = joined(event for event in events if event[2] >= 0)
            tags = {column.get(vocabulary.of(tag), -1) for tag in each.tags}
            present[each.file] = (tags | {event[2] for event in events}) - {-1}
            if each.duration is not None:
                durations[each.file] = each.duration
        return cls(where, labels, any(spans.values()), spans, present, durations)

    def only(self, labels: Sequence[Label]) -> Reference:
        """The same reference with some of its classes, in this order."""
        column = {self.labels.index(label): number for number, label in enumerate(labels)}
        spans = {
            name: [(onset, offset, column[old]) for onset, offset, old in spans if old in column]
            for name, spans in self.spans.items()
        }
        present = {name: {column[old] for old in present if old in column} for name, present in self.present.items()}
        return replace(self, labels=tuple(labels), spans=spans, present=present)


@dataclass(frozen=True)
class Trial:
    """Recordings with a reference and a system's results.

    Attributes
    ----------
    names : of the recordings.
    labels : the classes that are judged.
    truth : events of each recording; empty lists if the reference has none at all.
    targets : [recordings, classes], whether a recording contains a class.
    detections : results of each recording.
    strong : whether events can be judged: both sides have them.
    notes : what a reader must know, one line each.
    """

    names: list[str]
    labels: tuple[Label, ...]
    truth: list[Spans]
    targets: NDArray[np.bool_]
    detections: list[Detections]
    strong: bool
    notes: list[str] = field(default_factory=list)


def from_results(reference: Reference, results: Sequence[Annotations], where: str, vocabulary: Vocabulary) -> Trial:
    """The trial of a file of results.

    A recording without results has none: nothing was found in it. The score of a class in a recording is that of its
    tag or, without tags, that of its best event, or 0. Events count with their scores at every threshold up to these.

    Raises
    ------
    ArgumentError
        If the results name recordings or classes, and none of these is in both.
    """
    by_name = {each.file: each for each in results}
    names = list(reference.spans)
    pairs = pair(names, by_name, where)
    if by_name and not pairs:
        raise ArgumentError(f"{where}: has results for {some(by_name)}, but {reference.where} is about {some(names)}")
    column = {label: number for number, label in enumerate(reference.labels)}
    given = {vocabulary.of(item) for each in results for item in items_of(each)}
    if given and not given & set(column):
        near = [name for label in reference.labels for name in near_in(label.name, given)]
        hint = f"; near: {some(near)}" if near else ""
        raise ArgumentError(
            f"{where}: has no class of {reference.where}: it has {some(label.name for label in given)}, not "
            f"{some(label.name for label in column)}{hint}"
        )
    tagged = any(each.tags for each in results)
    notes, detections, unknown = list[str](), list[Detections](), 0
    for name in names:
        found = by_name.get(pairs.get(name, ""), Annotations(name))
        events = [(each, column[vocabulary.of(each)]) for each in found.events if vocabulary.of(each) in column]
        tags = {column[vocabulary.of(each)]: each.score for each in found.tags if vocabulary.of(each) in column}
        duration = length_of(name, found, reference)
        if duration is None:
            unknown += 1
            duration = max(
                [offset for _, offset, _ in reference.spans[name]] + [e.offset for e in found.events] + [0.01]
            )
        detections.append(detections_of(events, tags if tagged else None, duration, len(column)))
    if missing := len(names) - len(pairs):
        notes.append(
            f"{missing} of {len(names)} recordings of the reference have no results: nothing was found in them"
        )
    if extra := len(by_name) - len(pairs):
        notes.append(f"{extra} recordings of the results are not in the reference and do not count")
    if unknown and reference.strong:
        notes.append(
            f"the length of {unknown} recordings is unknown: they end with their last event; results as JSON have it"
        )
    if tagged:
        notes.append("classes that the results do not list count as score 0; give the audio to have all scores")
    strong = reference.strong and (any(each.events for each in results) or not tagged)
    if strong:
        notes.append("PSDS covers only the thresholds of the listed events; give the audio to have all")
    return _trial(reference, names, detections, strong, notes)


def from_model(reference: Reference, detections: Mapping[str, Detections], notes: list[str]) -> Trial:
    """The trial of a model.

    Parameters
    ----------
    detections : by name of the recording; of the classes of the reference.

    Raises
    ------
    ArgumentError
        If no recording is in both.
    """
    pairs = pair(detections, reference.spans, reference.where)
    if not pairs:
        raise ArgumentError(
            f"{reference.where}: is about {some(reference.spans)}, not about {some(detections)}; give their labels"
        )
    if extra := len(detections) - len(pairs):
        notes.append(
            f"{extra} recordings are not in the reference and do not count; list those without events there too"
        )
    if missing := len(reference.spans) - len(pairs):
        notes.append(f"{missing} of {len(reference.spans)} recordings of the reference were not given")
    kept = replace(
        reference,
        spans={name: reference.spans[other] for name, other in pairs.items()},
        present={name: reference.present[other] for name, other in pairs.items()},
    )
    return _trial(kept, list(pairs), [detections[name] for name in pairs], reference.strong, notes)


def _trial(
    reference: Reference, names: list[str], detections: list[Detections], strong: bool, notes: list[str]
) -> Trial:
    targets = np.zeros((len(names), len(reference.labels)), bool)
    for row, name in zip(targets, names, strict=True):
        row[list(reference.present[name])] = True
    truth = [reference.spans[name] for name in names]
    return Trial(names, reference.labels, truth, targets, detections, strong, notes)


def detections_of(
    events: Sequence[tuple[Event, int]], tags: Mapping[int, float] | None, duration: float, classes: int
) -> Detections:
    """Results of one recording that are events with scores, each with its column."""
    edges = np.unique(
        np.round([0.0, duration, *(time for event, _ in events for time in (event.onset, event.offset))], 6)
    )
    scores = np.full((len(edges) - 1, classes), UNLISTED, np.float32)
    best = np.zeros(classes, np.float32)
    for event, column in events:
        first, last = np.searchsorted(edges, np.round([event.onset, event.offset], 6))
        scores[first:last, column] = np.maximum(scores[first:last, column], event.score)
        best[column] = max(best[column], event.score)
    if tags is not None:
        best[:] = 0
        best[list(tags)] = list(tags.values())
    return Detections(edges, scores, [(event.onset, event.offset, column) for event, column in events], best, best > 0)


def of_recordings(annotations: Iterable[Annotations], others: Iterable[str]) -> list[Annotations]:
    """What is said about channels, as said about their recordings, unless the others are channels too.

    What is heard in one channel is heard in the recording. Events of a class in several channels that overlap are one,
    with the highest score; so is a tag.

    Parameters
    ----------
    others : names of the recordings that these are compared with.
    """
    given = list(annotations)
    names = channels_among([each.file for each in given], others)
    recordings = dict[str, list[Annotations]]()
    for each in given:
        recordings.setdefault(path_of(names[each.file]), []).append(each)
    return [
        _together(file, found) if len(found) > 1 else replace(found[0], file=file) for file, found in recordings.items()
    ]


def _together(file: str, channels: Sequence[Annotations]) -> Annotations:
    events = dict[tuple[str, str | None], list[Event]]()
    for event in sorted((event for each in channels for event in each.events), key=lambda event: event.onset):
        of_class = events.setdefault((event.label, event.mid), [])
        if of_class and event.onset < of_class[-1].offset:
            last = of_class[-1]
            of_class[-1] = replace(last, offset=max(last.offset, event.offset), score=max(last.score, event.score))
        else:
            of_class.append(event)
    tags = sorted((tag for each in channels for tag in each.tags), key=lambda tag: tag.score)
    best = {(tag.label, tag.mid): tag for tag in tags}
    durations = [each.duration for each in channels if each.duration is not None]
    items: list[Event | Tag] = [*chain.from_iterable(events.values()), *best.values()]
    return collected(file, items, max(durations, default=None))


def items_of(annotations: Annotations) -> list[Event | Tag]:
    """Events and tags of a recording."""
    return [*annotations.events, *annotations.tags]


def joined(spans: Iterable[tuple[float, float, int]]) -> Spans:
    """Events sorted by onset, in which those of a class that overlap or touch are one."""
    merged = dict[int, Spans]()
    for onset, offset, column in sorted(spans):
        of_class = merged.setdefault(column, [])
        if of_class and onset <= of_class[-1][1]:
            of_class[-1] = of_class[-1][0], max(of_class[-1][1], offset), column
        else:
            of_class.append((onset, offset, column))
    return sorted(span for of_class in merged.values() for span in of_class)


def length_of(name: str, found: Annotations, reference: Reference) -> float | None:
    """Seconds of a recording: by the results, the reference, or its header if the file is there; None if unknown."""
    known = found.duration or reference.durations.get(name)
    if known:
        return known
    for path in (path_of(parsed_name(file)) for file in (found.file, name)):
        if os.path.isfile(path):
            try:
                return probe(path, count=False).duration
            except AudioError:
                continue
    return None


def near_in(name: str, labels: Iterable[Label]) -> list[str]:
    """Names of classes like this one."""
    return Vocabulary(labels).near(name)


def some(names: Iterable[str]) -> str:
    """The first names, for a message."""
    first = sorted(set(names), key=str.casefold)
    return ", ".join(first[:4]) + (", ..." if len(first) > 4 else "")
