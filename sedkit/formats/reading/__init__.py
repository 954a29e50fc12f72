"""Reading of events and labels: what sedkit writes, what people correct in other programs, and references.

:func:`read_annotations` reads a file, or all files in a folder. The ending of a name says whether the file is a table,
a TextGrid, an ELAN document, RTTM, JSON, Parquet or Arrow; its content says which program's table or JSON it is.

``annotations``   what is read
``tables``        sedkit's own CSV and TSV, Raven, Kaleidoscope, DCASE, AudioSet
``labels``        Audacity, TextGrid, ELAN, RTTM
``documents``     sedkit's own JSON, JAMS, Label Studio
``columnar``      Parquet, Arrow
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.errors import AnnotationError
from sedkit.formats.reading.annotations import Annotations, merged
from sedkit.install import install_remedy
from sedkit.results import Event

__all__ = ["Annotations", "read_annotations", "read_events"]

READERS = {  # by ending: module, function
    ".textgrid": ("labels", "read_textgrid"),
    ".eaf": ("labels", "read_elan"),
    ".rttm": ("labels", "read_rttm"),
    ".jams": ("documents", "read_json"),
    ".json": ("documents", "read_json"),
    ".jsonl": ("documents", "read_json"),
    ".ndjson": ("documents", "read_json"),
    ".parquet": ("columnar", "read_parquet"),
    ".arrow": ("columnar", "read_arrow"),
    ".feather": ("columnar", "read_arrow"),
    ".csv": ("tables", "read_table"),
    ".tsv": ("tables", "read_table"),
    ".txt": ("tables", "read_table"),
}
CAPTIONS = (".srt", ".vtt", ".ass", ".ssa", ".sub")


def read_annotations(path: str | os.PathLike[str]) -> list[Annotations]:
    """Read the events and labels of recordings.

    Parameters
    ----------
    path : of a file in one of the formats in docs/formats.md, or of a folder: then every such file in it and in its
        subfolders is read, in the order of their paths. All files about one recording have one format.

    Returns
    -------
    One item per recording, in the order in which they appear; what several files in a folder say about a recording is
    in one item. A recording is named as in the file. In a format without names (Audacity, TextGrid), it has the path of
    the annotations without their ending, or that of the audio file that lies beside them under this name.

    Raises
    ------
    AnnotationError
        If something cannot be read, or a folder holds the same in two formats; the message names file, line, cause and
        remedy.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_file(path)
    files = [file for file in sorted(_files(path)) if file.suffix.lower() in READERS]
    if not files:
        raise AnnotationError(f"{path}: holds no file with one of the endings {', '.join(READERS)}")
    return merged((file, recording) for file in files for recording in _read_file(file))


def read_events(path: str | os.PathLike[str]) -> list[tuple[str, Event]]:
    """Read events: the name of the recording and the event, for each. Otherwise as :func:`read_annotations`."""
    return [(recording.file, event) for recording in read_annotations(path) for event in recording.events]


def lists_tags(path: str | os.PathLike[str]) -> bool:
    """Whether a file without rows, or some file in a folder of them, is a table of tags by its columns."""
    path = Path(path)
    if path.is_dir():
        return any(lists_tags(file) for file in _files(path) if file.suffix.lower() in READERS)
    module, _ = READERS.get(path.suffix.lower(), READERS[".txt"])
    if module not in ("tables", "columnar"):
        return False
    test: Callable[[Path], bool] = import_module(f"{__name__}.{module}").lists_tags
    return test(path)


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder, without those that sedkit and others hide (``_sedkit``, ``.git``)."""
    for name, folders, files in os.walk(folder):
        folders[:] = [below for below in folders if not below.startswith((".", "_"))]
        yield from (Path(name, file) for file in files if not file.startswith("."))


def _read_file(path: Path) -> list[Annotations]:
    ending = path.suffix.lower()
    if ending in CAPTIONS:
        raise AnnotationError(f"{path}: captions have no classes; convert another format of these events")
    if ending in AUDIO_SUFFIXES:
        raise AnnotationError(f"{path}: is a recording; give a file of events, or analyse it with sedkit timeline")
    module, name = READERS.get(ending, READERS[".txt"])
    try:
        read: Callable[[Path], list[Annotations]] = getattr(import_module(f"{__name__}.{module}"), name)
        return read(path)
    except ImportError as error:
        remedy = install_remedy("formats")
        raise AnnotationError(f"{path}: reading it needs {error.name}, which is not installed: {remedy}") from None
    except FileNotFoundError:
        raise AnnotationError(f"{path}: does not exist; check the path") from None
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror or error}") from None
