"""What several readers share: listing audio files, and making a manifest from rows.

All readers follow the same rules. ``on_error="stop"`` raises at clips that cannot be used, ``on_error="skip"`` leaves
them out. ``manifest.dropped`` counts by kind what was left out. With ``look=True`` a reader opens every audio file and
reads its header.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from training.data.audio import SUFFIXES
from training.data.manifest.problems import ManifestError, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary


def build_manifest(
    rows: Iterable[Row],
    vocabulary: Vocabulary,
    folder: Path,
    on_error: OnError,
    left_out: Tally,
    look: bool,
    where: str | None = None,
) -> Manifest:
    """Make a manifest from ``rows``, whose paths are relative to ``folder``.

    Parameters
    ----------
    left_out : what the reader has left out; it is added to ``manifest.dropped``.
    look : open every file and check that its header can be read.
    where : what errors name as their place; ``folder`` if None.

    Raises
    ------
    ManifestError
        If there are no rows, or if some are faulty and ``on_error`` is ``stop``.
    """
    where = str(folder) if where is None else where
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise ManifestError(f"{where}: no clip remains: {left_out}")
    manifest = Manifest.from_rows(chain([first], rows), vocabulary, folder, on_error, where)
    manifest.dropped.update(left_out)
    return manifest.check_audio(on_error, where) if look else manifest


def audio_below(folder: Path, left_out: Tally, problems: Tally) -> Iterator[str]:
    """Paths of the audio files below ``folder`` at any depth, relative to it, with ``/``, in alphabetical order.

    ``left_out`` counts files that are not audio, ``problems`` names that are not UTF-8.

    Raises
    ------
    ManifestError
        If ``folder`` does not exist.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder; name the folder that holds the recordings")
    for path in files_below(folder):
        if path.suffix.lower() not in SUFFIXES:
            left_out.add("file that is not audio", str(path))
        elif not _is_utf8(str(path)):
            problems.add("file name that is not UTF-8", ascii(str(path)))
        else:
            yield path.relative_to(folder).as_posix()


def files_below(folder: Path) -> Iterator[Path]:
    """Files below ``folder`` in alphabetical order. Links are followed; hidden files and folders are skipped."""
    visited: set[str] = set()
    for parent, children, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            children.clear()
            continue
        visited.add(real)
        children[:] = sorted(child for child in children if not child.startswith("."))
        yield from (Path(parent, file) for file in sorted(files) if not file.startswith("."))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
