"""The data set of the shipped model: ESC-50, Speech Commands and music, 52 classes.

::

    esc50/     esc50.csv and audio/: see training.data.readers.esc50
    speech/    speech.csv (filename, fold, speaker, license) and audio/
    music/     music.csv (filename, fold, track, license, source) and audio/
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sedkit.contract import Label
from training.data.manifest.delimited import read_table
from training.data.manifest.problems import Faults, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.readers.audioset_classes import audioset_vocabulary
from training.data.readers.building import build_manifest
from training.data.readers.esc50 import esc50_clips, esc50_labels, esc50_row

SPEECH = Label("Speech", "/m/09x0r", 0)
MUSIC = Label("Music", "/m/04rlf", 137)
FREE = ("CC0", "CC-BY")  # licences of the ESC-50 clips that the shipped model is trained on


def shipped(folder: str | Path, splitting: Splitting, on_error: OnError = "stop", look: bool = True) -> Manifest:
    """Read the data set of the shipped model.

    - Training and validation: outside the test fold, the ESC-50 clips under CC0 or CC-BY, all speech, all music.
    - Test: the whole test fold under any licence, and the ESC-50 clips of other folds under other licences, unless a
      clip of the same recording is in training or validation. With ``NO_FOLD`` the test split has only the latter.

    Groups are recordings, speakers and tracks.

    Parameters
    ----------
    folder : holds ``esc50/``, ``speech/`` and ``music/``.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If a table is missing or lacks a column, or for faults in the data with ``on_error="stop"``.
    """
    folder, rows = Path(folder), []
    for clip in esc50_clips(folder / "esc50"):
        split = splitting.split_of(clip["fold"])
        if split != "test" and clip["license"] not in FREE:
            split = ""  # not for training: _test_on_clips_that_are_not_free decides
        rows.append(esc50_row(clip, "esc50/audio", split))
    for clip in read_table(folder / "speech" / "speech.csv", ("filename", "fold", "speaker", "license")):
        rows.append(_row(clip, "speech", SPEECH, "speaker", f"Speech Commands, speaker {clip['speaker']}", splitting))
    for clip in read_table(folder / "music" / "music.csv", ("filename", "fold", "track", "license", "source")):
        rows.append(_row(clip, "music", MUSIC, "track", f"{clip['track']}, {clip['source']}", splitting))
    vocabulary = audioset_vocabulary([*esc50_labels().values(), SPEECH, MUSIC])
    manifest = build_manifest(rows, vocabulary, folder, on_error, Tally(), look)
    return splitting.apply(_test_on_clips_that_are_not_free(manifest.check_splits("skip")))


def _test_on_clips_that_are_not_free(manifest: Manifest) -> Manifest:
    """Move clips without a split to ``test``, and drop those whose group is in training."""
    in_training = np.isin(manifest.groups, manifest.select("train").groups.distinct())
    faults = Faults(len(manifest))
    faults.mark(
        "clip whose licence excludes training, of a recording in training",
        manifest.splits.equals("") & in_training,
        manifest.licenses.__getitem__,
    )
    manifest = manifest.without(faults)
    return manifest.with_splits([split or "test" for split in manifest.splits])


def _row(clip: dict[str, str], kind: str, label: Label, group: str, attribution: str, splitting: Splitting) -> Row:
    """The row of a clip of speech or music; ``group`` is the column that names its group."""
    return Row(
        f"{kind}/audio/{clip['filename']}",
        labels=label.mid or label.name,
        split=splitting.split_of(clip["fold"]),
        group=f"{kind}:{clip[group]}",
        license=clip["license"],
        attribution=attribution,
    )
