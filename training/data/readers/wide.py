"""The wide data set: ESC-50, speech, music and sounds from open packages, under AudioSet's classes and their parents.

::

    esc50/, speech/, music/    see training.data.readers.shipped
    more/        clips.csv (filename, labels, mids, group, fold, license, author, source, yamnet_rank) and audio/
    audioset/    class_labels_indices.csv

Rules:

- A clip has the classes it is labelled with and all of their parents.
- The children of its classes are unknown: a clip labelled "Drum" may be a snare drum. All other classes are absent.
- A clip of an instrument (``INSTRUMENTS``) with another label may be of the classes in ``PLAYED``: the triangle of
  an orchestra is labelled "Ding".
- A label is doubtful, and therefore unknown, if YAMNet ranks all of the clip's labels below ``DOUBTFUL`` although it
  knows these classes (``USUAL`` or better for half of their clips).
- The classes are those with at least ``SOURCES`` groups outside the test split.
- ESC-50, speech and music are split as in training.data.readers.shipped. Of ``more/``, fold 5 is in the test split and
  15 % of the rest in validation, because its classes have few sources.
- Clips of ``more/`` without a class of their own (parents do not count) are sounds that the model does not know. Each
  of their classes is in one split: about half are test classes; two thirds of the others teach the model to be silent,
  and one third, in validation, is for calibration.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from sedkit.ontology import load
from training.data.manifest.delimited import read_table
from training.data.manifest.paths import relative
from training.data.manifest.problems import OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import NONE, UNKNOWN, Vocabulary
from training.data.readers.audioset_classes import audioset_vocabulary
from training.data.readers.building import build_manifest
from training.data.readers.shipped import shipped

SOURCES = 5  # groups that a class needs
DOUBTFUL, USUAL = 50, 20  # ranks among YAMNet's 521 classes
MORE = Splitting(test_fold="5", validation_share=0.15)
INSTRUMENTS = ("fluidr3:", "hydrogen:", "philharmonia:")  # how the groups of recorded and rendered instruments begin
PLAYED = {"/m/04rlf", "/m/04szw", "/m/0l14md"}  # Music, Musical instrument, Percussion
MORE_AUDIO = "more/audio"
UNKNOWN_GROUP = "more:unknown:"  # how groups of unknown clips begin; a group is a class
COLUMNS = ("filename", "mids", "group", "fold", "license", "author", "source", "yamnet_rank")


class Clip(NamedTuple):
    """A clip before its labels are completed.

    Attributes
    ----------
    row : its row, without labels.
    mids : the classes that it is labelled with.
    doubtful : whether these are unknown rather than present.
    played : whether it is of an instrument.
    split_as_unknown : its split if its class is not in the vocabulary.
    """

    row: Row
    mids: frozenset[str]
    doubtful: bool = False
    played: bool = False
    split_as_unknown: str = "train"


def wide(folder: str | Path, splitting: Splitting, on_error: OnError = "stop", look: bool = True) -> Manifest:
    """Read the wide data set.

    Parameters
    ----------
    folder : holds the five folders.
    splitting : of ESC-50, speech and music.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If a table is missing or lacks a column, or for faults in the data with ``on_error="stop"``.
    """
    folder, left_out = Path(os.path.abspath(folder)), Tally()
    audioset = Vocabulary.load(folder / "audioset" / "class_labels_indices.csv")
    clips = [*_shipped_clips(folder, splitting, on_error), *_more_clips(folder, left_out)]
    named = {label.mid for label in audioset.labels}
    classes = {mid for mid, groups in _sources(clips).items() if len(groups) >= SOURCES} & named
    vocabulary = audioset_vocabulary([label for label in audioset.labels if label.mid in classes])
    rows = [_labelled(clip, classes) for clip in clips]
    manifest = build_manifest(rows, vocabulary, folder, on_error, left_out, look).check_splits("skip")
    more = np.array([name.startswith(MORE_AUDIO) for name in relative(manifest.paths, str(folder)).to_pylist()])
    more &= np.array([not group.startswith(UNKNOWN_GROUP) for group in manifest.groups])
    return Manifest.merge([manifest.take(np.flatnonzero(~more)), MORE.apply(manifest.take(np.flatnonzero(more)))])


def _shipped_clips(folder: Path, splitting: Splitting, on_error: OnError) -> Iterable[Clip]:
    manifest = shipped(folder, splitting, on_error, look=False)
    mids = [label.mid or label.name for label in manifest.vocabulary.labels]
    for row, classes in zip(manifest.rows(str(folder)), manifest.labels, strict=True):
        yield Clip(row, frozenset(mids[number] for number in classes))


def _more_clips(folder: Path, left_out: Tally) -> Iterable[Clip]:
    """The clips of ``more/``. Those whose licence is not named are left out and counted."""
    table = read_table(folder / "more" / "clips.csv", COLUMNS)
    ranks = defaultdict(list)
    for clip in table:
        if clip["yamnet_rank"]:
            ranks[clip["mids"]].append(float(clip["yamnet_rank"]))
    for clip in table:
        if not clip["license"]:
            left_out.add("clip without a licence", clip["filename"])
            continue
        mids = clip["mids"]
        doubtful = bool(clip["yamnet_rank"]) and float(clip["yamnet_rank"]) > DOUBTFUL and median(ranks[mids]) <= USUAL
        row = Row(
            f"{MORE_AUDIO}/{clip['filename']}",
            split=MORE.split_of(clip["fold"]),
            group=f"more:{clip['group']}",
            license=clip["license"],
            attribution=f"{clip['author']}, {clip['source']}",
        )
        played = clip["group"].startswith(INSTRUMENTS)
        yield Clip(row, frozenset(mids.split("|")), doubtful, played, _split_as_unknown(mids))


def _split_as_unknown(mids: str) -> str:
    """The split of unknown clips with these labels, drawn by their names."""
    first, second = hashlib.sha256(mids.encode()).digest()[:2]
    if first % 2 == 0:
        return "test"
    return "validation" if second % 3 == 2 else "train"


def _sources(clips: Iterable[Clip]) -> Mapping[str, set[str]]:
    """The groups, outside the test split, that each class and its children occur in."""
    sources = defaultdict(set)
    for clip in clips:
        if clip.row.split != "test" and not clip.doubtful:
            for mid in _with_parents(clip.mids):
                sources[mid].add(clip.row.group or clip.row.path)
    return sources


def _with_parents(mids: Iterable[str]) -> set[str]:
    """``mids`` and all classes above them."""
    return set[str]().union(*map(_above, mids))


@cache
def _above(mid: str) -> set[str]:
    return load().above(mid)


def _labelled(clip: Clip, classes: set[str]) -> Row:
    """The row of a clip with all of its labels, in the manifest's syntax."""
    present = _with_parents(clip.mids) & classes
    unknown = set[str]().union(*map(load().below, clip.mids)) & classes - present
    if clip.played and not present & PLAYED:
        unknown |= PLAYED & classes
    if clip.doubtful:
        present, unknown = set(), present | unknown
    labels = ";".join([*(sorted(present) or [NONE]), *(UNKNOWN + mid for mid in sorted(unknown))])
    row = clip.row._replace(labels=labels)
    if clip.row.path.startswith(MORE_AUDIO) and not clip.mids & classes:
        group = f"{UNKNOWN_GROUP}{'|'.join(sorted(clip.mids))}"
        return row._replace(split=clip.split_as_unknown, group=group)
    return row
