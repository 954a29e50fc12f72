"""DESED and DCASE task 4: one table of weak or strong labels and a folder of recordings.

A table is tab-separated: ``filename, event_labels`` (weak, several labels separated by commas) or ``filename, onset,
offset, event_label`` (strong, see training.data.manifest.strong_labels). Categories get the AudioSet classes of
``desed_audioset.csv``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from training.data.manifest.delimited import read_table, require_columns
from training.data.manifest.problems import OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.audioset import video_of, weak_from_strong
from training.data.readers.audioset_classes import audioset_labels, audioset_vocabulary, mid_of
from training.data.readers.building import build_manifest

MAPPING = Path(__file__).with_name("desed_audioset.csv")


def desed(
    table: str | Path,
    audio: str | Path,
    split: str,
    vocabulary: Vocabulary | None = None,
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """Read one table of DESED or DCASE task 4.

    Clips without events and clips without an audio file are counted and left out. A group is a YouTube video, where
    the file's name contains one.

    Parameters
    ----------
    audio : folder of the recordings.
    split : split of all clips of the table.
    vocabulary : the classes; DESED's 10 if None. Labels that are not DESED's are looked up in it by MID or name.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If the table has neither format, or for faults in the data with ``on_error="stop"``.
    """
    table, audio = Path(table), Path(audio)
    left_out, classes, rows = Tally(), audioset_labels(MAPPING), []
    for name, labels in _weak_labels(table, on_error, left_out):
        mids = [mid_of(label.strip(), classes) for label in labels if label.strip()]
        if not mids:
            left_out.add("clip without events", name)
        elif not (audio / name).is_file():
            left_out.add("missing recording", name)
        else:
            rows.append(Row(name, labels=";".join(mids), split=split, group=video_of(name)))
    vocabulary = vocabulary or audioset_vocabulary([*classes.values()])
    return build_manifest(rows, vocabulary, audio, on_error, left_out, look)


def _weak_labels(table: Path, on_error: OnError, left_out: Tally) -> Iterable[tuple[str, list[str]]]:
    """Each clip of a table in either format with its labels."""
    clips = read_table(table, ("filename",))
    column = "event_label" if "event_label" in clips[0] and "event_labels" not in clips[0] else "event_labels"
    require_columns(table, clips[0], (column,))
    if "onset" in clips[0]:
        return weak_from_strong(table, on_error, left_out)
    return [(clip["filename"], clip[column].split(",")) for clip in clips]
