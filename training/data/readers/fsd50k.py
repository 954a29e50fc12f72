"""FSD50K (Fonseca et al. 2022): Freesound clips in 200 classes of AudioSet's ontology.

::

    FSD50K.ground_truth/    dev.csv, eval.csv, vocabulary.csv
    FSD50K.metadata/        dev_clips_info_FSD50K.json, eval_clips_info_FSD50K.json (optional)
    FSD50K.dev_audio/, FSD50K.eval_audio/
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from sedkit.contract import Label
from training.data.manifest.delimited import read_table
from training.data.manifest.problems import ManifestError, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.audioset_classes import labels_in
from training.data.readers.building import build_manifest

SPLIT_NAMES = {"train": "train", "val": "validation"}


def fsd50k(
    folder: str | Path, vocabulary: Vocabulary | None = None, on_error: OnError = "stop", look: bool = True
) -> Manifest:
    """Read FSD50K.

    ``train`` and ``val`` of dev are the training and the validation split, eval is the test split. Licences and
    credits come from ``FSD50K.metadata`` if it exists.

    Parameters
    ----------
    folder : holds the folders ``FSD50K.*``.
    vocabulary : the classes; labels outside it are counted and dropped. FSD50K's 200 classes if None.
    look : open every file and check that its header can be read.

    Raises
    ------
    ManifestError
        If a table is missing or not FSD50K's, or for faults in the data with ``on_error="stop"``.
    """
    folder = Path(folder)
    truth, left_out, rows = folder / "FSD50K.ground_truth", Tally(), []
    own_classes = _read_vocabulary(truth / "vocabulary.csv")
    for part in ("dev", "eval"):
        metadata = _read_metadata(folder / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json")
        columns = ("fname", "labels", "mids", *(["split"] if part == "dev" else []))
        for clip in read_table(truth / f"{part}.csv", columns):
            labels = clip["mids"].replace(",", ";")
            if vocabulary is not None:
                labels = labels_in(vocabulary, labels.split(";"), left_out)
                if not labels:
                    continue
            info = metadata.get(clip["fname"], {})
            rows.append(
                Row(
                    f"FSD50K.{part}_audio/{clip['fname']}.wav",
                    labels=labels,
                    split=SPLIT_NAMES.get(clip["split"], clip["split"]) if part == "dev" else "test",
                    license=info.get("license", ""),
                    attribution=f"{info.get('uploader', '')} https://freesound.org/s/{clip['fname']}/".strip(),
                )
            )
    manifest = build_manifest(rows, vocabulary or own_classes, folder, on_error, left_out, look)
    return manifest.check_splits(on_error, str(folder))


def _read_vocabulary(path: Path) -> Vocabulary:
    """``vocabulary.csv`` of FSD50K: number, name, MID, without a header."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return Vocabulary([Label(name.replace("_", " "), mid) for _, name, mid in csv.reader(file)], str(path))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: not FSD50K's vocabulary: {error}") from None


def _read_metadata(path: Path) -> dict[str, dict[str, str]]:
    """Freesound's metadata of each clip; empty if the file does not exist."""
    if not path.exists():
        return {}
    try:
        metadata: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read: {error}") from None
    if not isinstance(metadata, dict) or not all(isinstance(info, dict) for info in metadata.values()):
        raise ManifestError(f"{path}: not FSD50K's metadata, an object with one object for each clip")
    return metadata
