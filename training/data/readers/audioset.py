"""AudioSet, weak and strong labels.

The clips come from YouTube, where some videos are always gone. Clips without an audio file are counted in
``manifest.dropped`` and are no fault.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.audio import SUFFIXES
from training.data.manifest.problems import ManifestError, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import Splitting
from training.data.manifest.strong_labels import read_events
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.audioset_classes import labels_in
from training.data.readers.building import build_manifest

SEGMENT = re.compile(r"Y?([A-Za-z0-9_-]{11})(?:_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?)?")  # YTID, start, end


def audioset(
    audio: str | Path,
    segments: Sequence[Path],
    vocabulary: Vocabulary,
    splitting: Splitting,
    on_error: OnError = "stop",
    look: bool = False,
) -> Manifest:
    """Read AudioSet's weak labels.

    A group is a video. Tables with ``eval`` in their name are the test split.

    Parameters
    ----------
    audio : folder with one file of ten seconds for each segment, named as in :class:`SegmentFiles`.
    segments : ``balanced_train_segments.csv``, ``unbalanced_train_segments.csv``, ``eval_segments.csv``.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If a table cannot be read, no segment has audio, or for faults in the data with ``on_error="stop"``.
    """
    files, left_out = SegmentFiles(Path(audio)), Tally()

    def rows() -> Iterator[Row]:
        for table in segments:
            for ytid, start, labels in _read_segments(table):
                path = files.find(ytid, start)
                if path is None:
                    left_out.add("missing video", ytid)
                else:
                    yield Row(path, labels=labels.replace(",", ";"), split=_split_of(table), group=ytid)

    return splitting.apply(build_manifest(rows(), vocabulary, Path(audio), on_error, left_out, look))


def audioset_strong(
    audio: str | Path,
    tables: Sequence[Path],
    vocabulary: Vocabulary,
    splitting: Splitting,
    on_error: OnError = "stop",
    look: bool = False,
) -> Manifest:
    """Read AudioSet's strong labels as weak labels: a clip gets the labels of its events.

    Labels outside ``vocabulary`` are counted and dropped. Splits, files and groups are those of :func:`audioset`.

    Parameters
    ----------
    tables : ``audioset_train_strong.tsv``, ``audioset_eval_strong.tsv``.

    Raises
    ------
    ManifestError
        As :func:`audioset`.
    """
    files, left_out, rows = SegmentFiles(Path(audio)), Tally(), []
    for table in tables:
        for clip, labels in weak_from_strong(table, on_error, left_out):
            ytid, _, milliseconds = clip.rpartition("_")
            path = files.find(ytid, float(milliseconds) / 1000) if milliseconds.isdigit() else None
            if path is None:
                left_out.add("missing video", clip)
            elif known := labels_in(vocabulary, labels, left_out):
                rows.append(Row(path, labels=known, split=_split_of(table), group=ytid))
    return splitting.apply(build_manifest(rows, vocabulary, Path(audio), on_error, left_out, look))


class SegmentFiles:
    """The audio files of AudioSet's segments, at any depth below a folder.

    A file is named ``YTID`` or ``YYTID`` (the extra Y keeps names from starting with ``-``), optionally followed by
    ``_START`` or ``_START_END`` in seconds or milliseconds, with the suffix of an audio format.

    Raises
    ------
    ManifestError
        If the folder does not exist or holds no such file.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ManifestError(f"{folder}: no such folder; name the folder of the clips with --audio")
        self._paths: dict[str | tuple[str, float], str] = {}
        for parent, children, names in os.walk(folder, followlinks=True):
            children.sort()
            inside = os.path.relpath(parent, folder)
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)
                match = SEGMENT.fullmatch(stem) if suffix.lower() in SUFFIXES else None
                if match:
                    ytid, start = match.groups()
                    key = (ytid, float(start)) if start else ytid
                    self._paths.setdefault(key, os.path.normpath(os.path.join(inside, name)))
        if not self._paths:
            raise ManifestError(
                f"{folder}: no audio named like AudioSet's segments: YTID.wav, YYTID.wav, YTID_START_END.wav"
            )

    def find(self, ytid: str, start: float) -> str | None:
        """Path, relative to the folder, of the segment of video ``ytid`` that starts at ``start`` seconds."""
        paths = self._paths
        return paths.get((ytid, start)) or paths.get((ytid, 1000 * start)) or paths.get(ytid)


def video_of(name: str) -> str:
    """The YouTube id in the name of a segment's file (see :class:`SegmentFiles`); empty if there is none."""
    match = SEGMENT.fullmatch(Path(name).stem)
    return match[1] if match else ""


def weak_from_strong(table: Path, on_error: OnError, left_out: Tally) -> Iterator[tuple[str, list[str]]]:
    """Each clip of a table of events with its labels; ``left_out`` counts faulty events."""
    events, faults = read_events(table, on_error)
    left_out.update(faults)
    clips: dict[str, list[str]] = {}
    for event in events:
        labels = clips.setdefault(event.clip, [])
        if event.label and event.label not in labels:
            labels.append(event.label)
    yield from clips.items()


def _split_of(table: Path) -> str:
    return "test" if "eval" in table.name else "train"


def _read_segments(table: Path) -> Iterator[tuple[str, float, str]]:
    """YTID, start in seconds and labels of each row of a segments CSV, whose separator is a comma and a space."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for fields in reader:
                if not fields or fields[0].startswith("#"):
                    continue
                try:
                    ytid, start, _, labels = fields
                    yield ytid, float(start), labels
                except ValueError:
                    raise ManifestError(
                        f"{table}: line {reader.line_num}: not YTID, start_seconds, end_seconds, positive_labels"
                    ) from None
    except OSError as error:
        raise ManifestError(f"{table}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{table}: not a CSV file in UTF-8: {error}") from None
