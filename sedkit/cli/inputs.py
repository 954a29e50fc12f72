"""Expansion of command-line arguments (files, folders, globs, ``-``) to recordings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

import click

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.errors import AudioError

STDIN = "-"
GLOB = frozenset("*?[")


class InputError(AudioError):
    """An argument, or something in a folder, that was left out.

    Parameters
    ----------
    name : of the argument or file.
    cause : and remedy.
    """

    def __init__(self, name: str, cause: str) -> None:
        super().__init__(f"{name}: {cause}")
        self.name = name


def expand(arguments: Sequence[str], recursive: bool = False) -> tuple[list[str], list[InputError]]:
    """The recordings that the arguments stand for, each once, and an error for everything that was left out.

    Left out are arguments that yield no recording and, in folders and globs, folders that cannot be read and audio
    files that are not regular files (named pipes, sockets, devices), from which reading might never end.

    Parameters
    ----------
    arguments : files, folders, globs and ``-``. Their order is kept; files of one folder or glob are sorted.
    recursive : whether to search subfolders of a folder too.
    """
    single = len(arguments) == 1  # cannot yield duplicates; skips slow path normalisation of 100,000 names
    found: dict[str, str] = {}  # names as given, by absolute path
    problems: list[InputError] = []
    for argument in arguments:
        for name in recordings(argument, recursive, problems):
            found.setdefault(name if name == STDIN or single else os.path.abspath(name), name)
    return list(found.values()), problems


def recordings(argument: str, recursive: bool, problems: list[InputError]) -> Sequence[str]:
    """The recordings that one argument stands for; appends to ``problems`` what was left out."""
    if argument == STDIN:
        return [STDIN]
    before = len(problems)
    if os.path.isdir(argument):
        names = sorted(in_folder(argument, recursive, problems))
        hint = "" if recursive else "; --recursive searches subfolders too"
        nothing = f"no audio files in this folder (names ending in {' '.join(sorted(AUDIO_SUFFIXES))}){hint}"
    elif os.path.exists(argument):
        return [argument]
    elif has_magic(argument):
        names = sorted(set(in_glob(argument, problems)))
        nothing = "no file matches; check the pattern"
    else:
        names, nothing = [], "no such file or folder; check the path"
    if not names and len(problems) == before:
        problems.append(InputError(argument, nothing))
    return names


def in_folder(folder: str, recursive: bool, problems: list[InputError]) -> Iterator[str]:
    """Audio files in a folder, except hidden ones; appends to ``problems`` what cannot be read."""
    for parent, entries in folders(folder, recursive, problems):
        for entry in entries:
            if os.path.splitext(entry.name)[1].lower() in AUDIO_SUFFIXES and not is_kind(entry.is_dir):
                name = os.path.join(parent, entry.name)
                if may_be_read(name, is_kind(entry.is_file), problems):
                    yield name


def in_glob(pattern: str, problems: list[InputError]) -> Iterator[str]:
    """Files that match a pattern, as by :func:`glob.glob` with ``recursive=True``; appends to ``problems``.

    Unlike there, unreadable folders are reported, and ``**`` searches each folder once (:func:`folders`).
    """
    parts: list[str] = []
    base = pattern
    while has_magic(base) and base != os.path.split(base)[0]:
        base, part = os.path.split(base)
        parts.insert(0, part)

    def below(folder: str, parts: list[str]) -> Iterator[str]:
        first, rest = parts[0], parts[1:]
        if first == "**":
            for parent, entries in folders(folder, True, problems):
                if rest and not has_magic(rest[0]):
                    yield from named(os.path.join(parent, rest[0]), rest[1:])
                else:
                    yield from among(parent, entries, rest or ["*"])
        elif has_magic(first):
            yield from among(folder, listing(folder, problems), parts)
        else:
            yield from named(os.path.join(folder, first), rest)

    def among(folder: str, entries: list[os.DirEntry[str]], parts: list[str]) -> Iterator[str]:
        if parts[0] == "**":
            yield from below(folder, parts)
            return
        for entry in entries:
            if fnmatch(entry.name, parts[0]) and (parts[0].startswith(".") or not entry.name.startswith(".")):
                yield from named(os.path.join(folder, entry.name), parts[1:])

    def named(name: str, parts: list[str]) -> Iterator[str]:
        if parts:
            if os.path.isdir(name):
                yield from below(name, parts)
        elif os.path.lexists(name) and not os.path.isdir(name) and may_be_read(name, os.path.isfile(name), problems):
            yield name

    if not base or os.path.isdir(base):
        yield from below(base, parts)


def folders(folder: str, recursive: bool, problems: list[InputError]) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """A folder and, if ``recursive``, all folders below it, except hidden ones; each with its visible entries.

    Links to folders are followed. Each folder is searched once, and so links in a circle end. A link to a parent of
    ``folder`` is not followed. Folders that cannot be read are appended to ``problems``.
    """
    pending, links = [folder], list[str]()  # links come last, so that a folder is found under its own name first
    searched = {identity(parent) for parent in Path(os.path.realpath(folder)).parents} - {None}
    while pending or links:
        parent = pending.pop() if pending else links.pop(0)
        this = identity(parent)
        if this in searched:
            continue
        if this is not None:
            searched.add(this)
        entries = [entry for entry in listing(parent, problems) if not entry.name.startswith(".")]
        yield parent, entries
        for entry in entries if recursive else ():
            if is_kind(entry.is_dir):
                (links if entry.is_symlink() else pending).append(os.path.join(parent, entry.name))


def listing(folder: str, problems: list[InputError]) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; none if it cannot be read, which is appended to ``problems``."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(InputError(folder, f"this folder cannot be read: {error.strerror}; check its permissions"))
        return []


def has_magic(pattern: str) -> bool:
    """Whether a name holds characters of a glob."""
    return not GLOB.isdisjoint(pattern)


def identity(folder: str | Path) -> tuple[int, int] | None:
    """Device and inode number of a folder, the same for all paths that lead to it; None if it cannot be reached."""
    try:
        status = os.stat(folder or os.curdir)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_kind(test: Callable[[], bool]) -> bool:
    """The result of ``DirEntry.is_file`` or ``is_dir``; False for a link that leads nowhere."""
    try:
        return test()
    except OSError:  # a circle of links
        return False


def may_be_read(name: str, is_file: bool, problems: list[InputError]) -> bool:
    """Whether a name that was found is a regular file, or a broken link, which fails when it is opened.

    Anything else could block for ever; it is appended to ``problems``.
    """
    if is_file or not os.path.exists(name):
        return True
    problems.append(InputError(name, "skipped, because it is not a regular file; name it to read from it"))
    return False


def stdin() -> BinaryIO:
    """Standard input as a binary file.

    Raises
    ------
    click.UsageError
        If standard input is closed or a terminal.
    """
    if not stdin_is_piped():
        raise click.UsageError(
            "- means standard input, but nothing is piped in; for example: ffmpeg -i a.mp4 -f wav - | ..."
        )
    try:
        # A separate file object: at exit, the interpreter would wait for a thread that still reads from sys.stdin.
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # under click's test runner, which replaces sys.stdin
        return sys.stdin.buffer


def stdin_is_piped() -> bool:
    """Whether standard input may hold audio: it is open and not a terminal."""
    return sys.stdin is not None and not sys.stdin.isatty()
