"""Which recording of one list is which of another: a table may name a recording by another path than the command line.

Two names may be the same recording if their file names are equal or, if no file name is, equal up to the last ending:
the labels of ``street.wav`` may be in ``street.txt`` or under the name ``street``. Of several candidates, the one that
shares the most folders at the end of its path counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import takewhile
from pathlib import PurePath

from sedkit.audio.prefetch import parsed_name
from sedkit.errors import ArgumentError


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
    known = dict.fromkeys(others)
    by_file, by_stem = dict[str, list[str]](), dict[str, list[str]]()
    for other in known:
        file = os.path.basename(other)
        by_file.setdefault(file, []).append(other)
        by_stem.setdefault(stem(file), []).append(other)
    found = dict[str, str]()
    taken = dict[str, str]()
    for name in names:
        file = os.path.basename(name)
        candidates = [name] if name in known else by_file.get(file) or by_stem.get(stem(file), [])
        if not candidates:
            continue
        other = nearest(name, candidates, where)
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


def stem(file: str) -> str:
    """A file name without its last ending."""
    return os.path.splitext(file)[0]
