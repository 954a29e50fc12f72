"""What differs between two sets of results for the same recordings: events and tags, per class.

Events of one class in one recording are matched if they overlap, those that share most first; then those that are the
same without an overlap, as events without length are. A pair is *the same* if onset and offset differ by at most a
tolerance, otherwise *moved*; an event without a partner is *only* in one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sedkit.contract import Label
from sedkit.errors import ArgumentError
from sedkit.formats.reading import Annotations
from sedkit.judging.pairing import pair
from sedkit.judging.report import aligned
from sedkit.judging.trial import joined, some
from sedkit.judging.vocabulary import Vocabulary
from sedkit.results import Event

KINDS = SAME, MOVED, ONLY_A, ONLY_B = "same", "moved", "only in A", "only in B"
MOST_SHOWN = 20  # differences in the text


@dataclass(frozen=True)
class Change:
    """One event in both results, or in one of them."""

    file: str
    label: Label
    kind: str
    a: Event | None
    b: Event | None

    def to_dict(self) -> dict[str, Any]:
        """``{"file", "label", "mid", "change", "a", "b"}``; events as onset, offset and score."""
        sides = {
            side: event and {"onset": event.onset, "offset": event.offset, "score": round(event.score, 4)}
            for side, event in (("a", self.a), ("b", self.b))
        }
        return {"file": self.file, "label": self.label.name, "mid": self.label.mid, "change": self.kind, **sides}


def compare(
    a: Sequence[Annotations], b: Sequence[Annotations], names: tuple[str, str], tolerance: float, threshold: float
) -> dict[str, Any]:
    """Compare two results, ready for JSON.

    Parameters
    ----------
    names : of the two results.
    tolerance : seconds by which onset and offset of the same event may differ.
    threshold : a recording has a class if its tag scores at least this.

    Raises
    ------
    ArgumentError
        If both are about recordings, and none of these is in both.
    """
    vocabulary = Vocabulary()
    vocabulary.learn_all([*a, *b])
    of_a, of_b = ({each.file: each for each in side} for side in (a, b))
    pairs = pair(of_a, of_b, names[1])
    if not pairs and of_a and of_b:
        raise ArgumentError(f"{names[0]} and {names[1]} have no recording in common: {some(of_a)}; {some(of_b)}")
    only_b = [name for name in of_b if name not in pairs.values()]
    sides = [(name, each, of_b.get(pairs.get(name, ""), Annotations(name))) for name, each in of_a.items()]
    sides += [(name, Annotations(name), of_b[name]) for name in only_b]
    changes = [change for side in sides for change in changed_events(*side, vocabulary, tolerance)]
    seconds = Counter[tuple[Label, str]]()
    for _, left, right in sides:
        seconds.update(seconds_of(left, right, vocabulary))
    tags = tag_changes(sides, vocabulary, threshold)
    kinds = Counter((change.label, change.kind) for change in changes)
    labels = sorted({change.label for change in changes} | set(tags), key=lambda label: label.name.casefold())
    return {
        "a": names[0],
        "b": names[1],
        "recordings": {"both": len(pairs), "only_a": len(of_a) - len(pairs), "only_b": len(only_b)},
        "tolerance": tolerance,
        "threshold": threshold,
        "events": {kind: sum(kinds[label, kind] for label in labels) for kind in KINDS}
        | times(sum(seconds[label, side] for label in labels) for side in ("a", "b", "both")),
        "classes": [
            {
                "label": label.name,
                "mid": label.mid,
                "events": {kind: kinds[label, kind] for kind in KINDS}
                | times(seconds[label, side] for side in ("a", "b", "both")),
                "tags": tags.get(label),
            }
            for label in labels
        ],
        "differences": [change.to_dict() for change in changes if change.kind != SAME],
    }


def changed_events(
    file: str, a: Annotations, b: Annotations, vocabulary: Vocabulary, tolerance: float
) -> Iterator[Change]:
    """Match the events of one recording."""
    by_label: dict[Label, tuple[list[Event], list[Event]]] = {}
    for side, each in enumerate((a, b)):
        for event in each.events:
            by_label.setdefault(vocabulary.of(event), ([], []))[side].append(event)
    for label, (left, right) in by_label.items():
        shared = {
            (i, j): min(x.offset, y.offset) - max(x.onset, y.onset)
            for i, x in enumerate(left)
            for j, y in enumerate(right)
            if min(x.offset, y.offset) > max(x.onset, y.onset) or is_same(x, y, tolerance)
        }
        matched_a, matched_b = set[int](), set[int]()
        for i, j in sorted(shared, key=lambda key: (-shared[key], key)):
            if i in matched_a or j in matched_b:
                continue
            matched_a.add(i)
            matched_b.add(j)
            x, y = left[i], right[j]
            yield Change(file, label, SAME if is_same(x, y, tolerance) else MOVED, x, y)
        yield from (Change(file, label, ONLY_A, x, None) for i, x in enumerate(left) if i not in matched_a)
        yield from (Change(file, label, ONLY_B, None, y) for j, y in enumerate(right) if j not in matched_b)


def is_same(x: Event, y: Event, tolerance: float) -> bool:
    """Whether neither the onsets nor the offsets of two events differ by more than a tolerance, in seconds."""
    return max(abs(x.onset - y.onset), abs(x.offset - y.offset)) <= tolerance + 1e-9


def seconds_of(a: Annotations, b: Annotations, vocabulary: Vocabulary) -> Mapping[tuple[Label, str], float]:
    """Seconds of each class in one recording: in A, in B, and in both at once."""
    found = Counter[tuple[Label, str]]()
    labels = {vocabulary.of(event) for each in (a, b) for event in each.events}
    for label in labels:
        left, right = (
            joined((event.onset, event.offset, 0) for event in each.events if vocabulary.of(event) == label)
            for each in (a, b)
        )
        both = sum(max(0.0, min(x[1], y[1]) - max(x[0], y[0])) for x in left for y in right)
        sides = {"a": sum(x[1] - x[0] for x in left), "b": sum(y[1] - y[0] for y in right), "both": both}
        found.update({(label, side): value for side, value in sides.items()})
    return found


def times(seconds: Iterator[float]) -> dict[str, Any]:
    """Seconds in A and in B, and their agreement: what is in both as a share of what is in either."""
    in_a, in_b, both = seconds
    either = in_a + in_b - both
    return {
        "seconds_a": round(in_a, 3),
        "seconds_b": round(in_b, 3),
        "agreement": round(both / either, 4) if either > 0 else None,
    }


def tag_changes(
    sides: Sequence[tuple[str, Annotations, Annotations]], vocabulary: Vocabulary, threshold: float
) -> dict[Label, dict[str, Any]]:
    """How the tags of each class differ, over the recordings in which both sides list it."""
    scores: dict[Label, list[tuple[float | None, float | None]]] = {}
    for _, a, b in sides:
        left, right = ({vocabulary.of(tag): tag.score for tag in each.tags} for each in (a, b))
        for label in left.keys() | right.keys():
            scores.setdefault(label, []).append((left.get(label), right.get(label)))
    found = {}
    for label, pairs in scores.items():
        differences: list[float] = [y - x for x, y in pairs if x is not None and y is not None]
        present = Counter(((x or 0) >= threshold, (y or 0) >= threshold) for x, y in pairs)
        found[label] = {
            "both": present[True, True],
            "only_a": present[True, False],
            "only_b": present[False, True],
            "mean_difference": round(sum(differences) / len(differences), 4) if differences else None,
            "largest_difference": round(sorted(differences, key=abs)[-1], 4) if differences else None,
        }
    return found


def text(report: dict[str, Any]) -> str:
    """The comparison for reading."""
    recordings = report["recordings"]
    lines = [f"A: {report['a']}", f"B: {report['b']}"]
    lines.append(
        f"{recordings['both']} recordings in both, {recordings['only_a']} only in A, {recordings['only_b']} only in B"
    )
    with_events = [row for row in report["classes"] if any(row["events"][kind] for kind in KINDS)]
    if with_events:
        head = ["events", *KINDS, "s in A", "s in B", "agreement"]
        rows = [event_row(row["label"], row["events"]) for row in with_events]
        lines += ["", *aligned([head, *rows, event_row("all", report["events"])])]
    with_tags = [row for row in report["classes"] if row["tags"] and noteworthy(row["tags"])]
    if with_tags:
        head = ["tags", "in both", ONLY_A, ONLY_B, "mean B - A", "largest B - A"]
        lines += ["", *aligned([head, *(tag_row(row["label"], row["tags"]) for row in with_tags)])]
    if report["differences"]:
        shown = report["differences"][:MOST_SHOWN]
        lines += ["", *aligned([["recording", "class", "change", "A", "B"], *map(difference_row, shown)], texts=3)]
        if hidden := len(report["differences"]) - len(shown):
            lines.append(f"... and {hidden} more; --format json has all")
    return "\n".join(lines) + "\n"


def noteworthy(tags: dict[str, Any]) -> bool:
    """Whether the tags of a class are present somewhere, or differ."""
    return bool(tags["both"] or tags["only_a"] or tags["only_b"] or abs(tags["largest_difference"] or 0) >= 0.1)


def event_row(name: str, events: dict[str, Any]) -> list[str]:
    counts = [str(events[kind]) for kind in KINDS]
    agreement = "-" if events["agreement"] is None else f"{events['agreement']:.3f}"
    return [name, *counts, f"{events['seconds_a']:.1f}", f"{events['seconds_b']:.1f}", agreement]


def tag_row(name: str, tags: dict[str, Any]) -> list[str]:
    differences = (tags["mean_difference"], tags["largest_difference"])
    signed = ["-" if value is None else f"{value:+.3f}" for value in differences]
    return [name, str(tags["both"]), str(tags["only_a"]), str(tags["only_b"]), *signed]


def difference_row(change: dict[str, Any]) -> list[str]:
    spans = [event and f"{event['onset']:.2f}-{event['offset']:.2f}" for event in (change["a"], change["b"])]
    return [change["file"], change["label"], change["change"], *(span or "" for span in spans)]
