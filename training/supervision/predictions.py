"""What a teacher predicts of the clips of a manifest, as a file that belongs to that manifest (Eq. 6).

The file is NumPy's NPZ: ``probabilities`` float16 [clips, classes], a row for every clip of the manifest whatever its
split, and ``about``, JSON: hash of the manifest, classes, what the teacher is and how good it is on each split.
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
    """An external teacher cannot be asked, or its predictions do not fit."""


@dataclass(frozen=True)
class Predictions:
    """What a teacher says: ``probabilities`` float16 [clips, classes]; ``about``: what it is, and its metrics."""

    probabilities: NDArray[np.float16]
    about: dict[str, Any]


def write_predictions(path: Path, said: Predictions, data: str, labels: Sequence[Label]) -> None:
    """Write predictions on the clips of a manifest with hash ``data``, atomically."""
    about = said.about | {"manifest_sha256": data, "labels": [asdict(label) for label in labels]}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, probabilities=said.probabilities, about=np.array(json.dumps(about)))


def read_predictions(path: Path, data: str, labels: Sequence[Label]) -> Predictions:
    """Predictions on the clips of the manifest with hash ``data``.

    Raises
    ------
    TeacherError
        If the file cannot be read, or is about another manifest or other classes.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            probabilities, about = file["probabilities"], json.loads(str(file["about"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TeacherError(
            f"{path}: predictions of a teacher cannot be read ({error}); sedkit-train teachers"
        ) from None
    if about.pop("manifest_sha256") != data or about.pop("labels") != [asdict(label) for label in labels]:
        raise TeacherError(f"{path}: predictions on another manifest, or on other classes; make them anew for this one")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise TeacherError(f"{path}: probabilities that are not in [0, 1]; make them anew")
    return Predictions(probabilities, about)
