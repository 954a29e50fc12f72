"""Expansion of command-line arguments (files, folders, globs, ``-``) to recordings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import click

from sedkit.errors import AudioError

STDIN = "-"
_SUFFIXES = """
    .wav .wave .w64 .rf64 .flac .ogg .oga .opus .mp3 .m4a .m4b .aac .aif .aiff .aifc .au .caf .wma .amr
    .mp4 .m4v .mov .webm .mkv .mka .avi .3gp .mpg
"""  # files in a folder that count as recordings; a file named on the command line is always tried
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())


def expand(arguments: Sequence[str], recursive: bool = False) -> tuple[list[str], list[AudioError]]:
    """The recordings that the arguments stand for, each once, and an error for each argument that yields none.

    Parameters
    ----------
    arguments : files, folders, globs and ``-``. Their order is kept; files of one folder or glob are sorted.
    recursive : whether to search subfolders of a folder too.
    """
    single = len(arguments) == 1  # cannot yield duplicates; skips slow path normalisation of 100,000 names
    found: dict[str, str] = {}  # names as given, by absolute path
    problems: list[AudioError] = []
    for argument in arguments:
        try:
            for name in recordings(argument, recursive):
                found.setdefault(name if name == STDIN or single else os.path.abspath(name), name)
        except AudioError as problem:
            problems.append(problem)
    return list(found.values()), problems


def recordings(argument: str, recursive: bool) -> Sequence[str]:
    """The recordings that one argument stands for.

    Raises
    ------
    AudioError
        If there are none.
    """
    if argument == STDIN:
        return [STDIN]
    if os.path.isdir(argument):
        names = sorted(in_folder(argument, recursive))
        if not names:
            hint = "" if recursive else "; --recursive searches subfolders too"
            raise AudioError(f"{argument}: no audio files in this folder{hint}")
        return names
    if not os.path.exists(argument):
        import glob  # here, because most runs do not need it

        if not glob.has_magic(argument):
            raise AudioError(f"{argument}: no such file or folder; check the path")
        names = sorted(name for name in glob.iglob(argument, recursive=True) if not os.path.isdir(name))
        if not names:
            raise AudioError(f"{argument}: no file matches; check the pattern")
        return names
    return [argument]


def in_folder(folder: str, recursive: bool) -> Iterator[str]:
    """Audio files in a folder, except hidden ones."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in names:
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith("."):
                yield os.path.join(parent, name)


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
