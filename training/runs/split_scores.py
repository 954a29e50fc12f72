"""Scores of a generation's network as ``scores.npz``: tables are made from it without the network and the audio.

NumPy's NPZ: a float32 array [clips, classes] for each scored split, its clips in the manifest's order, and
``network_sha256``. The manifest and the classes are those of the run's ``config.json``. In float16, different scores
could tie and change a mean average precision.
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
    """Stored scores cannot be used."""


def write_split_scores(generation: Path, scores: Mapping[str, NDArray[np.float32]]) -> None:
    """Write the scores of a generation's ``network.pt``, split → [clips, classes], atomically."""
    with replacing(generation / NAME) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, network_sha256=np.array(sha256(generation / "network.pt")), **scores)


def read_split_scores(generation: Path, split: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Scores for the clips of a split, ``shape`` [clips, classes]; None if there are none for the weights beside them.

    Scores without weights beside them are trusted.

    Raises
    ------
    ScoresError
        If the file cannot be read, or belongs to other clips or classes.
    """
    path, weights = generation / NAME, generation / "network.pt"
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            digest = str(file["network_sha256"])
            scores: NDArray[np.float32] = file[split].astype(np.float32, copy=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ScoresError(f"{path}: no scores of the split {split!r} in it ({error}); {_remedy(weights)}") from None
    if weights.exists() and digest != sha256(weights):
        return None
    if scores.shape != shape or not ((scores >= 0) & (scores <= 1)).all():
        what = "x".join(map(str, scores.shape)), "x".join(map(str, shape))
        raise ScoresError(f"{path}: {what[0]} scores instead of {what[1]} in [0, 1]; {_remedy(weights)}")
    return scores


def _remedy(weights: Path) -> str:
    if weights.exists():
        return "remove it, and the clips are scored again"
    return "copy it again, or copy network.pt and the audio"
