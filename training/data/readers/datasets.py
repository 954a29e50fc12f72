"""Readers: data sets as they are found on disk → manifests.

Every reader drops what cannot be used (``on_error="skip"``) or stops at it, and says in
``manifest.dropped`` what was left out and why. Files are looked at (header only) unless ``look`` is false.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from sedkit.contract import Label
from sedkit.errors import AudioError
from training.data.audio import SUFFIXES, fault, length
from training.data.manifest.problems import Faults, ManifestError, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import hold_out
from training.data.manifest.table import LOOKING, SPLITS, Manifest
from training.data.manifest.vocabulary import UNKNOWN, Vocabulary
from training.data.readers.tables import audioset_index, audioset_labels, read_table

TABLE = Path(__file__).with_name("esc50_audioset.csv")
SPEECH = Label("Speech", "/m/09x0r", 0)
MUSIC = Label("Music", "/m/04rlf", 137)
FREE = ("CC0", "CC-BY")  # licences of the ESC-50 clips that the shipped model learns from
NO_FOLD = "none"  # in place of a test fold: all folds are learnt from

COLUMNS = {  # names under which a plain CSV may hold a manifest's columns
    "path": ("path", "filename", "file", "filepath", "file_name"),
    "labels": ("labels", "label", "category", "categories", "class"),
    "start": ("start", "onset", "start_s"),
    "duration": ("duration", "duration_s"),
    "split": ("split", "subset"),
    "group": ("group",),
    "license": ("license", "licence"),
    "attribution": ("attribution",),
    "fold": ("fold",),
}


@dataclass(frozen=True)
class Splitting:
    """How clips are shared out where the data set does not say it itself.

    Attributes
    ----------
    test_fold : the fold that becomes the test split; ``NO_FOLD``: none does; None: no folds, use ``test_share``.
    test_share, validation_share : shares (0 to 1) of every class, by group (``splits.hold_out``).
    seed : draws the groups.
    """

    test_fold: str | None = None
    test_share: float = 0.0
    validation_share: float = 0.1
    seed: int = 0

    def of_fold(self, fold: str) -> str:
        """Split of a clip of ``fold``."""
        if self.test_fold is None:
            return ""
        return "test" if fold == self.test_fold else "train"

    def apply(self, manifest: Manifest) -> Manifest:
        """Share out the clips of ``train`` and of no split.

        A group that lies in the test fold and in another stays whole in test; its other clips are left out.
        """
        manifest = manifest.parted("skip")
        if self.test_fold not in (None, NO_FOLD) and "test" not in manifest.splits:
            raise ManifestError(f"no clip in fold {self.test_fold}; name a fold that the data has")
        manifest = hold_out(manifest, "test", self.test_share, self.seed)
        return hold_out(manifest, "validation", self.validation_share, self.seed)


def esc50(
    folder: str | Path,
    splitting: Splitting,
    licenses: Sequence[str] = (),
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """ESC-50 (``esc50.csv`` with ``audio/`` beside it), its 50 categories named as in AudioSet.

    A group is a Freesound recording (``src_file``). ``licenses``: keep clips under these alone; empty: all.

    Raises
    ------
    ManifestError
        If the table is missing or is not ESC-50's, or for faults in the data with ``on_error="stop"``.
    """
    left_out = Tally()
    rows = []
    for clip in _esc50_clips(Path(folder)):
        if licenses and clip["license"] not in licenses:
            left_out.add("clip under another license", f"{clip['license']}: {clip['filename']}")
        else:
            rows.append(_esc50_row(clip, "audio", splitting.of_fold(clip["fold"])))
    manifest = Manifest.from_rows(
        rows, Vocabulary(sorted(esc50_labels().values(), key=audioset_index)), Path(folder), on_error, str(folder)
    )
    manifest.dropped.update(left_out)
    if look:
        manifest = manifest.checked(on_error, str(folder))
    return splitting.apply(manifest)


def shipped(folder: str | Path, splitting: Splitting, on_error: OnError = "stop", look: bool = True) -> Manifest:
    """The set of the shipped model: ``esc50/``, ``speech/`` and ``music/`` below ``folder``, 52 classes.

    Outside the test fold, training and validation get the ESC-50 clips under CC0 or CC-BY, all speech and
    all music. The test split is the whole test fold, under any licence, and the other ESC-50 clips
    of those recordings that have no clip in training or validation; with ``NO_FOLD``, these alone. Groups: recording,
    speaker, track.

    Raises
    ------
    ManifestError
        As ``esc50``.
    """
    folder = Path(folder)
    rows = []
    for clip in _esc50_clips(folder / "esc50"):
        split = splitting.of_fold(clip["fold"])
        if split != "test" and clip["license"] not in FREE:
            split = ""  # decided below
        rows.append(_esc50_row(clip, "esc50/audio", split))
    for clip in read_table(folder / "speech" / "speech.csv", ("filename", "fold", "speaker", "license")):
        rows.append(_row(clip, "speech", SPEECH, "speaker", f"Speech Commands, speaker {clip['speaker']}", splitting))
    for clip in read_table(folder / "music" / "music.csv", ("filename", "fold", "track", "license", "source")):
        rows.append(_row(clip, "music", MUSIC, "track", f"{clip['track']}, {clip['source']}", splitting))
    labels = sorted([*esc50_labels().values(), SPEECH, MUSIC], key=audioset_index)
    manifest = Manifest.from_rows(rows, Vocabulary(labels), folder, on_error, str(folder))
    if look:
        manifest = manifest.checked(on_error, str(folder))

    manifest = manifest.parted("skip")
    learnt = np.isin(manifest.groups, manifest.select("train").groups.distinct())
    faults = Faults(len(manifest))
    faults.mark(
        "clip not free to learn from, of a recording in training",
        manifest.splits.equals("") & learnt,
        manifest.licenses.__getitem__,
    )
    manifest = manifest.without(faults)
    return splitting.apply(manifest.with_splits([split or "test" for split in manifest.splits]))


def plain_csv(
    table: str | Path,
    splitting: Splitting,
    vocabulary: Vocabulary | None = None,
    audio: str | Path | None = None,
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """A CSV of paths and labels (several separated by ``;``), with the other columns of a manifest if it has them.

    Columns go by several names (``COLUMNS``). A clip that stands in several rows gets the labels of all.
    Paths count from ``audio``, or else from the table's folder. Unlabelled clips (``?``) without a split are in
    ``train``. Without ``vocabulary`` the classes are the labels that occur.

    Raises
    ------
    ManifestError
        If the table cannot be read or lacks a column, or for faults in the data with ``on_error="stop"``.
    """
    table = Path(table)
    clips = read_table(table, ())
    names = {column: next((name for name in COLUMNS[column] if name in clips[0]), "") for column in COLUMNS}
    for column in ("path", "labels", *(["fold"] if splitting.test_fold is not None else [])):
        if not names[column]:
            raise ManifestError(f"{table}: no column for {column}; call it {' or '.join(COLUMNS[column])}")
    rows: dict[tuple[str, str, str], Row] = {}
    for clip in clips:
        held = {column: clip[name] for column, name in names.items() if name}
        fold = held.pop("fold", "")
        held["split"] = held.get("split") or splitting.of_fold(fold) or ("train" if held["labels"] == UNKNOWN else "")
        row = Row(**held)
        first = rows.setdefault(row[:3], row)
        if first is not row:
            rows[row[:3]] = first._replace(labels=f"{first.labels};{row.labels}")
    if vocabulary is None:
        labels = (label.strip() for row in rows.values() for label in row.labels.split(";"))
        vocabulary = Vocabulary.of(label for label in labels if label)
    manifest = Manifest.from_rows(rows.values(), vocabulary, Path(audio or table.parent), on_error, str(table))
    if splitting.test_fold is None:
        manifest = manifest.parted(on_error, str(table))
    if look:
        manifest = manifest.checked(on_error, str(table))
    return splitting.apply(manifest)


def folders(
    folder: str | Path,
    splitting: Splitting,
    vocabulary: Vocabulary | None = None,
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """A folder of folders: the name of each is the class of the audio in it, at any depth.

    Raises
    ------
    ManifestError
        If there is no audio in it, or for faults in the data with ``on_error="stop"``.
    """
    folder, left_out, problems = Path(folder), Tally(), Tally()
    rows = []
    for name in audio_below(folder, left_out, problems):
        label, *inside = name.split("/")
        if inside:
            rows.append(Row(name, labels=label.strip()))
        else:
            left_out.add("file in no class's folder", str(folder / name))
    problems.settle(on_error, str(folder))
    if not rows:
        raise ManifestError(f"{folder}: no audio in folders below it; it must hold one folder a class")
    vocabulary = vocabulary or Vocabulary.of(row.labels for row in rows)
    manifest = Manifest.from_rows(rows, vocabulary, folder, on_error, str(folder))
    manifest.dropped.update(left_out)
    manifest.dropped.update(problems)
    if look:
        manifest = manifest.checked(on_error, str(folder))
    return splitting.apply(manifest)


def unlabelled(
    folder: str | Path, vocabulary: Vocabulary, seconds: float = 10.0, on_error: OnError = "stop"
) -> Manifest:
    """A folder of recordings, at any depth, of which nobody has said what is heard: clips for teachers to tell of.

    Each recording is cut into equal clips of about ``seconds``; one of less than 1.5 times that stays whole.
    All are in ``train``, without labels.

    Raises
    ------
    ManifestError
        If there is no audio in it, or for faults in the data with ``on_error="stop"``.
    """
    folder, left_out, problems = Path(folder), Tally(), Tally()
    names = list(audio_below(folder, left_out, problems))
    rows = []
    with ThreadPoolExecutor(LOOKING) as pool:
        for name, cut in zip(names, pool.map(lambda name: _cuts(str(folder / name), seconds), names), strict=True):
            if isinstance(cut, str):
                problems.add(cut, str(folder / name))
            else:
                rows += [Row(name, *times, labels=UNKNOWN, split="train") for times in cut]
    problems.settle(on_error, str(folder))
    if not rows:
        raise ManifestError(f"{folder}: no audio in it" + (f" but {problems}" if problems else ""))
    manifest = Manifest.from_rows(rows, vocabulary, folder, on_error, str(folder))
    manifest.dropped.update(left_out)
    manifest.dropped.update(problems)
    return manifest


def _cuts(path: str, seconds: float) -> list[tuple[str, str]] | str:
    """Start and duration of each clip of a recording, as text, or the kind of what is wrong with it."""
    try:
        end = length(path)
    except AudioError:
        return fault(path) or "unreadable audio"
    count = max(1, round(end / seconds))
    if count == 1:
        return [("", "")]
    bounds = np.linspace(0, end, count + 1).round(3).tolist()
    return [(str(start), str(round(stop - start, 3))) for start, stop in pairwise(bounds)]


def merge(manifests: Sequence[Manifest], on_error: OnError = "stop") -> Manifest:
    """One manifest of several; its classes are theirs, by AudioSet index.

    Raises
    ------
    ManifestError
        If a file or a group lies in two splits and ``on_error`` is ``stop``.
    """
    rows = [row for manifest in manifests for row in manifest.rows()]
    vocabulary = Vocabulary.union([manifest.vocabulary for manifest in manifests])
    return Manifest.from_rows(rows, vocabulary, Path(), on_error, "merge").parted(on_error, "merge")


def describe(manifest: Manifest) -> str:
    """What is in a manifest and what was left out, in a few lines."""
    sizes = [f"{manifest.splits.count(split)} {split or 'unassigned'}" for split in (*SPLITS, "")]
    counts, known = manifest.labels.counts(len(manifest.vocabulary)), manifest.labels.known
    lines = [
        f"{len(manifest)} clips, {len(manifest.vocabulary)} classes: "
        + ", ".join(size for size in sizes if not size.startswith("0 ")),
        f"clips a class: {counts.min()} to {counts.max()}"
        + (f"; of no class: {none}" if (none := int((known & (manifest.labels.lengths == 0)).sum())) else "")
        + (f"; unlabelled: {unlabelled}" if (unlabelled := int((~known).sum())) else ""),
    ]
    return "\n".join(lines + [f"left out: {line}" for line in manifest.dropped.lines()])


def _row(clip: dict[str, str], kind: str, label: Label, group: str, attribution: str, splitting: Splitting) -> Row:
    return Row(
        f"{kind}/audio/{clip['filename']}",
        labels=label.mid or label.name,
        split=splitting.of_fold(clip["fold"]),
        group=f"{kind}:{clip[group]}",
        license=clip["license"],
        attribution=attribution,
    )


def esc50_labels() -> dict[str, Label]:
    """ESC-50 category → AudioSet class, in ESC-50's order (esc50_audioset.csv, where the choices are explained)."""
    return audioset_labels(TABLE)


def _esc50_clips(folder: Path) -> list[dict[str, str]]:
    return read_table(folder / "esc50.csv", ("filename", "fold", "category", "src_file", "license", "author", "url"))


def _esc50_row(clip: dict[str, str], audio: str, split: str) -> Row:
    label = esc50_labels().get(clip["category"])
    return Row(
        f"{audio}/{clip['filename']}",
        labels=(label and label.mid) or clip["category"],
        split=split,
        group=f"esc50:{clip['src_file']}",
        license=clip["license"],
        attribution=f"{clip['author']} {clip['url']}",
    )


def audio_below(folder: Path, left_out: Tally, problems: Tally) -> Iterator[str]:
    """Names of the audio files below a folder, from it, with ``/``. Other files are counted in ``left_out``.

    Raises
    ------
    ManifestError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder")
    for path in files_below(folder):
        if path.suffix.lower() not in SUFFIXES:
            left_out.add("file that is not audio", str(path))
        elif not _is_utf8(str(path)):
            problems.add("file name that is not UTF-8", ascii(str(path)))
        else:
            yield path.relative_to(folder).as_posix()


def files_below(folder: Path) -> Iterator[Path]:
    """Files below a folder in alphabetical order, links followed, hidden ones passed over."""
    visited: set[str] = set()
    for parent, children, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in visited:
            children.clear()
            continue
        visited.add(place)
        children[:] = sorted(child for child in children if not child.startswith("."))
        yield from (Path(parent, file) for file in sorted(files) if not file.startswith("."))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
