"""UrbanSound8K (Salamon et al. 2014): 8732 clips in 10 categories and 10 folds.

::

    metadata/UrbanSound8K.csv    slice_file_name, fsID, fold, class
    audio/fold1 ... fold10       the clips

Categories get the AudioSet classes of ``urbansound8k_audioset.csv``.
"""

from __future__ import annotations

from pathlib import Path

from training.data.manifest.delimited import read_table
from training.data.manifest.problems import OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import Splitting
from training.data.manifest.table import Manifest
from training.data.readers.audioset_classes import audioset_labels, audioset_vocabulary, mid_of
from training.data.readers.building import build_manifest

MAPPING = Path(__file__).with_name("urbansound8k_audioset.csv")


def urbansound8k(folder: str | Path, splitting: Splitting, on_error: OnError = "stop", look: bool = True) -> Manifest:
    """Read UrbanSound8K.

    A group is a Freesound recording (``fsID``).

    Parameters
    ----------
    folder : holds ``metadata/`` and ``audio/``.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If the table is missing or not UrbanSound8K's, or for faults in the data with ``on_error="stop"``.
    """
    folder, rows = Path(folder), []
    labels = audioset_labels(MAPPING)
    for clip in read_table(folder / "metadata" / "UrbanSound8K.csv", ("slice_file_name", "fsID", "fold", "class")):
        rows.append(
            Row(
                f"audio/fold{clip['fold']}/{clip['slice_file_name']}",
                labels=mid_of(clip["class"], labels),
                split=splitting.split_of(clip["fold"]),
                group=f"freesound:{clip['fsID']}",
                license="CC-BY-NC",
                attribution=f"UrbanSound8K, https://freesound.org/s/{clip['fsID']}/",
            )
        )
    vocabulary = audioset_vocabulary([*labels.values()])
    return splitting.apply(build_manifest(rows, vocabulary, folder, on_error, Tally(), look))
