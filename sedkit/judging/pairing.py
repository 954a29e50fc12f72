"""Which recording of one list is which of another: a table may name a recording by another path than the command line.

Names are matched by their path; those that are left, by their file name; and then by their file name without the
ending, since the labels of ``street.wav`` may be in ``street.txt`` or under the name ``street``. Of several candidates,
the one that shares the most folders at the end of its path counts.

Where a path is in both lists, recordings of that file name are told apart by their folders: no other path matches them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePath
from typing import TypeAlias

from sedkit.audio.prefetch import parsed_name
from sedkit.errors import ArgumentError
from sedkit.formats.reading.annotations import stem_of


def pair(names: Iterable[str], others: Iterable[str], where: str) -> dict[str, str]:
    """Find each name among the others.

    Parameters
    ----------
    names, others : paths of recordings.
    where : what holds the others, for the error message.

    Returns
    -------
    The other name of each name that has one.

    Raises
    ------
    ArgumentError
        If two of the others are equally likely, or two names have the same other.
    """
    given, known = list(dict.fromkeys(names)), dict.fromkeys(others)
    found = {name: name for name in given if name in known}
    apart = {os.path.basename(name) for name in found}
    for of_name, of_other in KEYS:
        taken = set(found.values())
        free = dict[str, list[str]]()
        for other in known:
            if other not in taken:
                free.setdefault(of_other(other), []).append(other)
        candidates = {name: free.get(of_name(name), []) for name in given if name not in found}
        found |= matched(candidates, apart, where)
    return {name: found[name] for name in given if name in found}


def matched(candidates: Mapping[str, Sequence[str]], apart: Container[str], where: str) -> dict[str, str]:
    """The nearest candidate of each name that has one.

    Parameters
    ----------
    candidates : of each name.
    apart : file names by which recordings are not told apart, only by their paths.
    where : as for :func:`pair`, also the errors.
    """
    found, taken = dict[str, str](), dict[str, str]()
    for name, others in candidates.items():
        file = os.path.basename(name)
        possible = [other for other in others if file not in apart or os.path.basename(other) != file]
        if not possible:
            continue
        other = nearest(name, possible, where)
        if other in taken:
            raise ArgumentError(
                f"{where}: {other} may be {taken[other]} or {name}; give the recordings different names, or the same "
                "paths in both places"
            )
        found[name] = other
        taken[other] = name
    return found


def channels_among(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """The names of one list, in which ``talk.wav#2`` is a channel unless the other list has such a file name.

    Returns
    -------
    Each name, and by it the :class:`~sedkit.audio.prefetch.ChannelName` of a channel, otherwise the name.
    """
    files = {os.path.basename(other) for other in others}
    return {name: name if os.path.basename(name) in files else parsed_name(name) for name in names}


def nearest(name: str, candidates: list[str], where: str) -> str:
    """The candidate that shares the most folders with a name, from the file up."""
    shared = [shared_folders(name, other) for other in candidates]
    best = [other for other, count in zip(candidates, shared, strict=True) if count == max(shared)]
    if len(best) > 1:
        raise ArgumentError(
            f"{where}: {name} may be {best[0]} or {best[1]}; give the recordings different names, or the same paths in "
            "both places"
        )
    return best[0]


def shared_folders(first: str, second: str) -> int:
    """Number of folders that two paths share, from the file up."""
    folders = zip(reversed(PurePath(first).parent.parts), reversed(PurePath(second).parent.parts), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], folders)))


def stem(path: str) -> str:
    """A file name without its ending."""
    return stem_of(os.path.basename(path))


Key: TypeAlias = Callable[[str], str]
KEYS: tuple[tuple[Key, Key], ...] = (  # of a name and of the other, in the order in which they are tried
    (os.path.basename, os.path.basename),
    (stem, os.path.basename),
    (os.path.basename, stem),
    (stem, stem),
)
