"""The classes that a result reports: those of the model, without some, or with parents from AudioSet's ontology.

A model may know a class and others below it in the ontology, such as Animal, Dog and Bark. Unless they are asked for,
only the most specific ones are reported: a class is *explained*, and left out, where one below it is present and scores
at least three quarters as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sedkit import ontology
from sedkit.contract import Label
from sedkit.errors import ArgumentError

SUGGESTIONS = 5  # names in an error message
NEAR, VERY_NEAR = 0.6, 0.75  # least similarity of a suggestion (difflib's ratio); of one from the ontology
FARTHEST = 1  # steps up in the ontology to a common parent
SMALL_WORDS = {"and", "of", "the", "or", "a", "in"}
LISTED = "sedkit info lists its classes"
EXPLAINING = 0.75  # least score of a class that explains one above it, as a share of that one's score


@dataclass(frozen=True)
class Selection:
    """The reported classes.

    Attributes
    ----------
    labels : the classes, those of the model first.
    columns : the columns of the scores that they need, ascending.
    members : for each class, the positions in ``columns`` whose highest score is its score: one, or those of the
        classes below it.
    below : for each class, the positions in ``labels`` of those that explain it; empty for one that is always reported.
    """

    labels: tuple[Label, ...]
    columns: tuple[int, ...]
    members: tuple[tuple[int, ...], ...]
    below: tuple[tuple[int, ...], ...]

    @cached_property
    def rolls_up(self) -> bool:
        """Whether some class is not simply one of the model."""
        return self.members != tuple((position,) for position in range(len(self.columns)))

    def highest(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores of the classes, [..., classes], from those of ``columns``, [..., columns]."""
        if not self.rolls_up:
            return scores
        return np.stack([scores[..., list(own)].max(axis=-1) for own in self.members], axis=-1)

    def thresholds(self, of_model: Sequence[float]) -> NDArray[np.float64]:
        """Thresholds of the classes, [classes]; that of a parent is the lowest below it.

        So whenever a child is present, its parent is.
        """
        chosen = np.array(of_model, np.float64)[list(self.columns)]
        return np.array([chosen[list(own)].min() for own in self.members])


def select(
    labels: Sequence[Label],
    classes: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    rollup: Iterable[str] = (),
    parents: bool = False,
    model: str = "the model",
    listed: str = LISTED,
) -> Selection:
    """Choose the reported classes.

    Parameters
    ----------
    labels : the classes of the model, in the order of its outputs.
    classes : names or MIDs of the classes to report; None for all of the model and of `rollup`.
    exclude : names or MIDs of classes not to report.
    rollup : names or MIDs of classes in AudioSet's ontology. The score of each is the highest of the model's classes
        that are it or lie below it.
    parents : whether to report classes that others explain, too. Those of `classes` and `rollup` always are.
    model, listed : for error messages: its name, and where its classes are listed.

    Raises
    ------
    ArgumentError
        If a name is unknown, or no class remains.
    """
    groups: dict[Label, tuple[int, ...]] = {label: (column,) for column, label in enumerate(labels)}
    rolled_up = set[Label]()
    for name in _names(rollup):
        label, columns = _rolled_up(name, labels, listed)
        rolled_up.add(label)
        groups = {known: own for known, own in groups.items() if known.mid != label.mid} | {label: columns}

    def find(name: str) -> Label:
        for label in groups:
            if is_named(label, name):
                return label
        raise ArgumentError(f"{name}: {model} has no such class; {suggestion(name, list(groups)) or listed}")

    wanted = set(groups) if classes is None else {find(name) for name in _names(classes)}
    left_out = {find(name) for name in _names(exclude)}
    chosen = [label for label in groups if label in wanted and label not in left_out]
    if not chosen:
        reason = "classes is empty" if not wanted else "exclude leaves no class"
        raise ArgumentError(f"{reason}; omit it to report all classes of the model")
    columns = tuple(sorted({column for label in chosen for column in groups[label]}))
    members = tuple(tuple(columns.index(column) for column in groups[label]) for label in chosen)
    named = set(chosen) if parents or classes is not None else rolled_up
    positions = {label.mid: position for position, label in enumerate(chosen)}
    below = tuple(() if label in named else _below(label, positions) for label in chosen)
    return Selection(tuple(chosen), columns, members, below)


def explained(
    scores: NDArray[np.floating], thresholds: NDArray[np.float64], below: Sequence[Sequence[int]]
) -> NDArray[np.bool_]:
    """Where a class is explained by one below it, [..., classes].

    Parameters
    ----------
    scores : [..., classes].
    thresholds : scores at which the classes are present, [classes].
    below : see :class:`Selection`; may be empty.
    """
    found = np.zeros(scores.shape, bool)
    present = np.where(scores >= thresholds, scores, -1.0)
    for column, others in enumerate(below):
        if others:
            found[..., column] = present[..., list(others)].max(axis=-1) >= EXPLAINING * scores[..., column]
    return found


def is_named(label: Label, name: str) -> bool:
    """Whether a class has this name or MID, in any case."""
    return name.strip().casefold() in (label.name.casefold(), (label.mid or label.name).casefold())


def suggestion(name: str, labels: Sequence[Label]) -> str:
    """What to say about a name that the model does not have.

    Examples
    --------
    >>> suggestion("Bird", [Label("Chirp, tweet", "/m/07pggtn"), Label("Wind", "/m/03m9d0z")])
    'did you mean Chirp, tweet? --rollup Bird (in Python rollup="Bird") scores Bird from what lies below it'
    >>> suggestion("Dgo", [Label("Dog"), Label("Wind")])
    'did you mean Dog?'
    """
    import difflib

    near = ontology.load()
    folded = name.strip().casefold()
    mid = near.find(name)
    if mid is not None:
        below = [label.name for label in labels if label.mid in near.below(mid)]
        if below:
            listed = "; ".join(below[:SUGGESTIONS]) + ("; ..." if len(below) > SUGGESTIONS else "")
            name = near.names[mid]
            rollup = f'--rollup {name} (in Python rollup="{name}")'
            return f"did you mean {listed}? {rollup} scores {name} from what lies below it"
    names = {label.name.casefold(): label.name for label in labels}
    found = [known for known in names if folded and folded in known]
    found += [known for known in names if set(folded.split()) & set(known.replace(",", "").split()) - SMALL_WORDS]
    if mid is None:
        found += difflib.get_close_matches(folded, names, SUGGESTIONS, NEAR)
    found = list(dict.fromkeys(found))
    if found:
        return f"did you mean {', '.join(names[known] for known in found[:SUGGESTIONS])}?"
    if mid is None:
        others = {known.casefold(): each for each, known in near.names.items()}
        close = difflib.get_close_matches(folded, others, 1, VERY_NEAR)
        mid = others[close[0]] if close else None
    if mid is not None:
        steps = near.distances(mid)
        related = sorted((steps[label.mid], label.name) for label in labels if label.mid in steps)
        if names_near := [known for distance, known in related if distance <= FARTHEST][:SUGGESTIONS]:
            return f"nearest in AudioSet's ontology: {'; '.join(names_near)}"
    return ""


def _below(label: Label, positions: Mapping[str | None, int]) -> tuple[int, ...]:
    """Positions of the classes below one in the ontology, from the positions of all MIDs."""
    if label.mid is None:
        return ()
    return tuple(sorted(positions[mid] for mid in ontology.load().below(label.mid) & positions.keys() - {label.mid}))


def _names(values: Iterable[str] | None) -> list[str]:
    """A name, several or none, as a list."""
    if values is None:
        return []
    names = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else [values]
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError(f"classes are given by name or MID, not {name!r}")
    return names


def _rolled_up(name: str, labels: Sequence[Label], listed: str) -> tuple[Label, tuple[int, ...]]:
    """A class of the ontology, and the columns of the model's classes below it."""
    known = ontology.load()
    mid = known.find(name)
    if mid is None:
        import difflib

        close = difflib.get_close_matches(name.strip(), known.names.values(), SUGGESTIONS, NEAR)
        raise ArgumentError(
            f"{name}: AudioSet's ontology has no such class"
            + (f"; did you mean {'; '.join(close)}?" if close else "; see research.google.com/audioset/ontology")
        )
    below = known.below(mid)
    columns = tuple(column for column, label in enumerate(labels) if label.mid in below)
    if not columns:
        raise ArgumentError(f"{name}: the model has no class below it; {suggestion(name, labels) or listed}")
    own = next((label for label in labels if label.mid == mid), Label(known.names[mid], mid))
    return own, columns
