"""ESC-50 (Piczak 2015): 2000 clips of 5 s in 50 categories and 5 folds.

::

    esc50.csv    filename, fold, category, src_file, license, author, url
    audio/       the clips

Categories get the AudioSet classes of ``esc50_audioset.csv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sedkit.contract import Label
from training.data.manifest.delimited import read_table
from training.data.manifest.problems import OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.readers.audioset_classes import audioset_labels, audioset_vocabulary, mid_of
from training.data.readers.building import build_manifest

MAPPING = Path(__file__).with_name("esc50_audioset.csv")


def esc50(
    folder: str | Path,
    splitting: Splitting,
    licenses: Sequence[str] = (),
    on_error: OnError = "stop",
    look: bool = True,
) -> Manifest:
    """Read ESC-50.

    A group is a Freesound recording (``src_file``).

    Parameters
    ----------
    folder : holds ``esc50.csv`` and ``audio/``.
    licenses : keep only clips under these licences; all if empty.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If the table is missing or is not ESC-50's, or for faults in the data with ``on_error="stop"``.
    """
    folder, left_out, rows = Path(folder), Tally(), []
    for clip in esc50_clips(folder):
        if licenses and clip["license"] not in licenses:
            left_out.add("clip under another licence", f"{clip['license']}: {clip['filename']}")
        else:
            rows.append(esc50_row(clip, "audio", splitting.split_of(clip["fold"])))
    vocabulary = audioset_vocabulary([*esc50_labels().values()])
    return splitting.apply(build_manifest(rows, vocabulary, folder, on_error, left_out, look))


def esc50_labels() -> dict[str, Label]:
    """ESC-50 category → AudioSet class, in ESC-50's order."""
    return audioset_labels(MAPPING)


def esc50_clips(folder: Path) -> list[dict[str, str]]:
    """The rows of ``folder/esc50.csv``."""
    return read_table(folder / "esc50.csv", ("filename", "fold", "category", "src_file", "license", "author", "url"))


def esc50_row(clip: dict[str, str], audio: str, split: str) -> Row:
    """The manifest row of a clip of ``esc50.csv``, whose file lies in the folder ``audio``."""
    return Row(
        f"{audio}/{clip['filename']}",
        labels=mid_of(clip["category"], esc50_labels()),
        split=split,
        group=f"esc50:{clip['src_file']}",
        license=clip["license"],
        attribution=f"{clip['author']} {clip['url']}",
    )
