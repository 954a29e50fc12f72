"""Score files: a teacher's scores for every clip of one manifest (Eq. 6).

The file is NumPy's NPZ: ``probabilities`` float16 [clips, classes], one row for every clip of the manifest in any
split, or ``logits`` of any float type in their place; and ``about``, JSON: SHA-256 of the manifest, classes, what the
teacher is, and its metrics on each split.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from sedkit.errors import SedkitError
from training.runtime.files import replacing


class TeacherError(SedkitError):
    """An external teacher cannot be used, or its scores do not fit the manifest."""


@dataclass(frozen=True)
class Predictions:
    """A teacher's scores: ``probabilities`` [clips, classes]; ``about``: what the teacher is, its metrics."""

    probabilities: NDArray[np.floating]
    about: dict[str, Any]


def write_predictions(path: Path, predictions: Predictions, data: str, labels: Sequence[Label]) -> None:
    """Write the scores for the clips of the manifest with SHA-256 ``data``, atomically.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    about = predictions.about | {"manifest_sha256": data, "labels": [asdict(label) for label in labels]}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, probabilities=predictions.probabilities, about=np.array(json.dumps(about)))


def read_predictions(path: Path, data: str, labels: Sequence[Label], clips: int) -> Predictions:
    """Read the scores for the ``clips`` clips of the manifest with SHA-256 ``data``.

    Raises
    ------
    TeacherError
        If the file cannot be read, belongs to another manifest or other classes, or has scores of another shape.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            belongs_to = about.pop("manifest_sha256", None), about.pop("labels", None)
            probabilities = file["probabilities"] if "logits" not in file else _sigmoid(file["logits"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise TeacherError(
            f"{path}: a teacher's scores cannot be read ({error}); make them with sedkit-train teachers"
        ) from None
    if belongs_to != (data, [asdict(label) for label in labels]):
        raise TeacherError(f"{path}: scores for another manifest or other classes; make them again for this one")
    if probabilities.shape != (clips, len(labels)):
        raise TeacherError(
            f"{path}: scores of shape {list(probabilities.shape)} for {clips} clips and {len(labels)} classes; "
            "make the file again"
        )
    if probabilities.dtype.kind not in "biuf" or not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise TeacherError(f"{path}: probabilities outside [0, 1]; make the file again")
    return Predictions(probabilities, about)


def _sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float32]:
    """Probabilities in float32: those above 0.999 have few digits in float16."""
    return np.asarray(1 / (1 + np.exp(-logits.astype(np.float64).clip(-99, 99))), np.float32)
