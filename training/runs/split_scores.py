"""What a generation's network scored, as ``scores.npz`` beside it: tables made of it need neither network nor audio.

NumPy's NPZ: a float32 array [clips, classes] for each split that was scored, its clips in the manifest's order, and
``network_sha256``. Manifest and classes are those of the run's ``config.json``. In float16, scores that differ would
tie, and move a mean average precision.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedkit.errors import SedkitError
from training.runtime.files import replacing, sha256

NAME = "scores.npz"


class ScoresError(SedkitError):
    """Scores that were kept cannot be used."""


def write_split_scores(generation: Path, scores: Mapping[str, NDArray[np.float32]]) -> None:
    """Write what the ``network.pt`` in the directory of a generation scored: split → [clips, classes]; atomically."""
    with replacing(generation / NAME) as temporary, temporary.open("wb") as file:
        np.savez(file, network_sha256=np.array(sha256(generation / "network.pt")), **scores)


def read_split_scores(generation: Path, split: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Scores of the clips of a split, ``shape`` [clips, classes]; None where there are none of the weights beside them.

    Where the weights were left behind, the scores stand for them.

    Raises
    ------
    ScoresError
        If the file cannot be read, or is not about these clips and classes.
    """
    path, weights = generation / NAME, generation / "network.pt"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            of, scores = str(file["network_sha256"]), file[split].astype(np.float32, copy=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ScoresError(f"{path}: no scores of the split {split!r} in it ({error}); {_remedy(weights)}") from None
    if weights.exists() and of != sha256(weights):
        return None
    if scores.shape != shape or not ((scores >= 0) & (scores <= 1)).all():
        what = "x".join(map(str, scores.shape)), "x".join(map(str, shape))
        raise ScoresError(f"{path}: {what[0]} scores, where {what[1]} in [0, 1] belong; {_remedy(weights)}")
    return scores


def _remedy(weights: Path) -> str:
    if weights.exists():
        return "remove it, and the clips are scored anew"
    return "copy it again, or else network.pt and the audio"
