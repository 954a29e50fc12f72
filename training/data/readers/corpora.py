"""Readers of published data sets: AudioSet (weak and strong labels), FSD50K, UrbanSound8K, DESED and DCASE.

All are joined on MIDs. Clips of AudioSet and DESED come from YouTube, where some are always gone: those whose
audio is not there are counted, and are no fault.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from sedkit.contract import Label
from training.data.audio import SUFFIXES
from training.data.manifest.problems import ManifestError, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.datasets import Splitting
from training.data.readers.events import read_events
from training.data.readers.tables import audioset_index, audioset_labels, check_columns, read_table

URBANSOUND8K = Path(__file__).with_name("urbansound8k_audioset.csv")
DESED = Path(__file__).with_name("desed_audioset.csv")
SEGMENT = re.compile(r"Y?([A-Za-z0-9_-]{11})(?:_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?)?")  # YTID, start, end
FSD50K_SPLITS = {"train": "train", "val": "validation"}


def audioset(
    audio: str | Path,
    segments: Sequence[Path],
    vocabulary: Vocabulary,
    splitting: Splitting,
    on_error: OnError = "stop",
    look: bool = False,
) -> Manifest:
    """AudioSet's weak labels: ``balanced_train_segments.csv``, ``unbalanced_train_...`` and ``eval_segments.csv``.

    Segments of a file with ``eval`` in its name are the test split. Each segment is one file of ten seconds below
    ``audio``, named as in :class:`Segments`. A group is a video.

    Raises
    ------
    ManifestError
        If a table cannot be read, no segment has audio, or for faults in the data with ``on_error="stop"``.
    """
    files, left_out = Segments(Path(audio)), Tally()

    def rows() -> Iterator[Row]:
        for table in segments:
            split = "test" if "eval" in table.name else "train"
            for ytid, start, labels in _segments(table, left_out):
                path = files.find(ytid, start)
                if path is None:
                    left_out.add("missing video", ytid)
                else:
                    yield Row(path, labels=labels.replace(",", ";"), split=split, group=ytid)

    manifest = _manifest(rows(), vocabulary, Path(audio), on_error, left_out, look)
    return splitting.apply(manifest)


def audioset_strong(
    audio: str | Path,
    tables: Sequence[Path],
    vocabulary: Vocabulary,
    splitting: Splitting,
    on_error: OnError = "stop",
    look: bool = False,
) -> Manifest:
    """AudioSet's strong labels (``audioset_train_strong.tsv``, ``audioset_eval_strong.tsv``) as weak ones.

    A clip has the labels of its events; those that are not in ``vocabulary`` are counted and dropped.
    Splits, files and groups as in ``audioset``.

    Raises
    ------
    ManifestError
        As ``audioset``.
    """
    files, left_out, rows = Segments(Path(audio)), Tally(), []
    for table in tables:
        split = "test" if "eval" in table.name else "train"
        for clip, labels in _weak_of_strong(table, on_error, left_out):
            ytid, _, milliseconds = clip.rpartition("_")
            path = files.find(ytid, float(milliseconds) / 1000) if milliseconds.isdigit() else None
            if path is None:
                left_out.add("missing video", clip)
            elif known := _known(labels, vocabulary, left_out):
                rows.append(Row(path, labels=known, split=split, group=ytid))
    return splitting.apply(_manifest(rows, vocabulary, Path(audio), on_error, left_out, look))


def fsd50k(
    folder: str | Path, vocabulary: Vocabulary | None = None, on_error: OnError = "stop", look: bool = True
) -> Manifest:
    """FSD50K: ``FSD50K.ground_truth`` with ``dev.csv``, ``eval.csv`` and ``vocabulary.csv``, and the folders of audio.

    ``train`` and ``val`` of dev are the training and the validation split, eval is the test split. Licences,
    uploaders (the groups) and credits are those of ``FSD50K.metadata``, if it is there. Without
    ``vocabulary`` the classes are its own 200; with another, labels that are not in it are counted and dropped.

    Raises
    ------
    ManifestError
        If a table is missing or not FSD50K's, or for faults in the data with ``on_error="stop"``.
    """
    folder = Path(folder)
    truth, left_out, rows = folder / "FSD50K.ground_truth", Tally(), []
    own = _fsd50k_vocabulary(truth / "vocabulary.csv")
    for part in ("dev", "eval"):
        about = _fsd50k_clips(folder / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json")
        columns = ("fname", "labels", "mids", *(["split"] if part == "dev" else []))
        for clip in read_table(truth / f"{part}.csv", columns):
            labels = clip["mids"].replace(",", ";")
            if vocabulary is not None:
                labels = _known(labels.split(";"), vocabulary, left_out)
                if not labels:
                    continue
            info = about.get(clip["fname"], {})
            rows.append(
                Row(
                    f"FSD50K.{part}_audio/{clip['fname']}.wav",
                    labels=labels,
                    split=FSD50K_SPLITS.get(clip["split"], clip["split"]) if part == "dev" else "test",
                    license=info.get("license", ""),
                    attribution=f"{info.get('uploader', '')} https://freesound.org/s/{clip['fname']}/".strip(),
                )
            )
    return _manifest(rows, vocabulary or own, folder, on_error, left_out, look).parted(on_error, str(folder))


def urbansound8k(folder: str | Path, splitting: Splitting, on_error: OnError = "stop", look: bool = True) -> Manifest:
    """UrbanSound8K: ``metadata/UrbanSound8K.csv`` and ``audio/fold1`` to ``fold10``, named as in AudioSet.

    A group is a Freesound recording (``fsID``).

    Raises
    ------
    ManifestError
        If the table is missing or not UrbanSound8K's, or for faults in the data with ``on_error="stop"``.
    """
    folder = Path(folder)
    labels, rows = audioset_labels(URBANSOUND8K), []
    for clip in read_table(folder / "metadata" / "UrbanSound8K.csv", ("slice_file_name", "fsID", "fold", "class")):
        rows.append(
            Row(
                f"audio/fold{clip['fold']}/{clip['slice_file_name']}",
                labels=_mid(labels, clip["class"]),
                split=splitting.of_fold(clip["fold"]),
                group=f"freesound:{clip['fsID']}",
                license="CC-BY-NC",
                attribution=f"UrbanSound8K, https://freesound.org/s/{clip['fsID']}/",
            )
        )
    return splitting.apply(_manifest(rows, _vocabulary(labels), folder, on_error, Tally(), look))


def desed(
    table: str | Path,
    audio: str | Path,
    split: str,
    vocabulary: Vocabulary | None = None,
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """A table of DESED or DCASE task 4: ``filename, event_labels`` or ``filename, onset, offset, event_label``.

    DESED's classes are named as in AudioSet; others are found by MID or name in ``vocabulary``, by default DESED's.
    Clips in which nothing is heard, and those without audio, are counted. A group is a video, where clips are
    named by one.

    Raises
    ------
    ManifestError
        If the table is of neither form, or for faults in the data with ``on_error="stop"``.
    """
    table, audio = Path(table), Path(audio)
    left_out, labels, rows = Tally(), audioset_labels(DESED), []
    columns = read_table(table, ("filename",))[0]
    weak = next((name for name in ("event_labels", "event_label") if name in columns), "event_labels")
    check_columns(table, columns, (weak,))
    if "onset" in columns:
        clips = _weak_of_strong(table, on_error, left_out)
    else:
        clips = ((clip["filename"], clip[weak].split(",")) for clip in read_table(table, ()))
    for name, heard in clips:
        found = [_mid(labels, label.strip()) for label in heard if label.strip()]
        if not found:
            left_out.add("clip in which nothing is heard", name)
        elif not (audio / name).is_file():
            left_out.add("missing recording", name)
        else:
            video = SEGMENT.fullmatch(Path(name).stem)
            rows.append(Row(name, labels=";".join(found), split=split, group=video[1] if video else ""))
    return _manifest(rows, vocabulary or _vocabulary(labels), audio, on_error, left_out, look)


class Segments:
    """Audio files of AudioSet's segments, at any depth of a folder, by the names that are usual.

    ``YTID`` or ``YYTID`` (the Y keeps names from beginning with ``-``), as it is or followed by ``_START`` or
    ``_START_END`` in seconds or milliseconds; any ending of an audio file.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ManifestError(f"{folder}: no such folder")
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
                f"{folder}: no audio named as AudioSet's segments: YTID.wav, YYTID.wav, YTID_START_END.wav"
            )

    def find(self, ytid: str, start: float) -> str | None:
        """Path, from the folder, of the segment of a video that begins at ``start`` seconds."""
        paths = self._paths
        return paths.get((ytid, start)) or paths.get((ytid, 1000 * start)) or paths.get(ytid)


def _segments(table: Path, left_out: Tally) -> Iterator[tuple[str, float, str]]:
    """YTID, start in seconds and labels of each row of a segments CSV, whose fields are parted by comma and space."""
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
        raise ManifestError(f"{table}: not a CSV in UTF-8: {error}") from None


def _weak_of_strong(table: Path, on_error: OnError, left_out: Tally) -> Iterator[tuple[str, list[str]]]:
    """Each clip of a table of events with the labels heard in it."""
    events, faults = read_events(table, on_error)
    left_out.update(faults)
    clips: dict[str, list[str]] = {}
    for event in events:
        heard = clips.setdefault(event.clip, [])
        if event.label and event.label not in heard:
            heard.append(event.label)
    yield from clips.items()


def _known(labels: Iterable[str], vocabulary: Vocabulary, left_out: Tally) -> str:
    """The labels that are classes, joined; the others are counted, and so is a clip that has no other."""
    labels = list(labels)
    known = [label for label in labels if vocabulary.find(label) is not None]
    for label in labels:
        if label not in known:
            left_out.add("label that is none of the classes", label)
    if not known:
        left_out.add("clip with no label of the classes", ";".join(labels))
    return ";".join(known)


def _manifest(
    rows: Iterable[Row], vocabulary: Vocabulary, base: Path, on_error: OnError, left_out: Tally, look: bool
) -> Manifest:
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        raise ManifestError(f"{base}: no clip is left: {left_out}")
    manifest = Manifest.from_rows(chain([first], rows), vocabulary, base, on_error, str(base))
    manifest.dropped.update(left_out)
    return manifest.checked(on_error, str(base)) if look else manifest


def _vocabulary(labels: dict[str, Label]) -> Vocabulary:
    return Vocabulary(sorted(labels.values(), key=audioset_index))


def _mid(labels: dict[str, Label], category: str) -> str:
    label = labels.get(category)
    return (label and label.mid) or category


def _fsd50k_vocabulary(path: Path) -> Vocabulary:
    """``vocabulary.csv`` of FSD50K: number, name, MID, without a header."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return Vocabulary([Label(name.replace("_", " "), mid) for _, name, mid in csv.reader(file)], str(path))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: not FSD50K's vocabulary: {error}") from None


def _fsd50k_clips(path: Path) -> dict[str, dict[str, str]]:
    """What Freesound says of each clip, if that is there."""
    if not path.exists():
        return {}
    try:
        found: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from None
    return found
