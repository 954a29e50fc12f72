"""From what stands on the command line to the recordings that are meant."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import click

from sedkit.errors import AudioError

STDIN = "-"
ENDINGS = """
    .wav .wave .w64 .rf64 .flac .ogg .oga .opus .mp3 .m4a .m4b .aac .aif .aiff .aifc .au .caf .wma .amr
    .mp4 .m4v .mov .webm .mkv .mka .avi .3gp .mpg
"""  # what counts as a recording in a folder; a file that is named is always tried
AUDIO = frozenset(ENDINGS.split())


def expand(arguments: Sequence[str], recursive: bool = False) -> tuple[list[str], list[AudioError]]:
    """The recordings meant by files, folders, globs and ``-``, each once, and what is wrong with the rest.

    Parameters
    ----------
    arguments : as given; their order is kept, what is in a folder or matches a glob is sorted.
    recursive : whether to look for recordings in folders below a folder as well.
    """
    alone = len(arguments) == 1  # nothing to tell apart, which takes its time with a hundred thousand
    found: dict[str, str] = {}
    problems: list[AudioError] = []
    for argument in arguments:
        try:
            for name in recordings(argument, recursive):
                found.setdefault(name if name == STDIN or alone else os.path.abspath(name), name)
        except AudioError as problem:
            problems.append(problem)
    return list(found.values()), problems


def recordings(argument: str, recursive: bool) -> Sequence[str]:
    """The recordings meant by one argument.

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
            hint = "" if recursive else "; --recursive looks in the folders below as well"
            raise AudioError(f"{argument}: no audio files in this folder{hint}")
        return names
    if not os.path.exists(argument) and glob.has_magic(argument):
        names = sorted(name for name in glob.iglob(argument, recursive=True) if not os.path.isdir(name))
        if not names:
            raise AudioError(f"{argument}: no file matches; check the pattern")
        return names
    if not os.path.exists(argument):
        raise AudioError(f"{argument}: no such file or folder; check the path")
    return [argument]


def in_folder(folder: str, recursive: bool) -> Iterator[str]:
    """Audio files in a folder, hidden ones left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        for name in names:
            if os.path.splitext(name)[1].lower() in AUDIO and not name.startswith("."):
                yield os.path.join(parent, name)


def stdin() -> BinaryIO:
    """Standard input, in bytes.

    Raises
    ------
    click.UsageError
        If it is closed, or a terminal.
    """
    if not stdin_is_piped():
        raise click.UsageError("- is standard input, but nothing is piped in, as in: ffmpeg -i a.mp4 -f wav - | ...")
    try:
        # A file of our own: a thread that still reads from the interpreter's would keep it from ending.
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:  # a test's
        return sys.stdin.buffer


def stdin_is_piped() -> bool:
    """Whether standard input can hold audio: it is open, and no terminal."""
    return sys.stdin is not None and not sys.stdin.isatty()
