"""A folder of recordings without labels, for students to train on with soft targets from teachers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from sedkit.errors import AudioError
from training.data.audio import fault, length
from training.data.manifest.headers import DISK_THREADS
from training.data.manifest.problems import ManifestError, OnError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import UNKNOWN, Vocabulary
from training.data.readers.building import audio_below, build_manifest


def unlabelled(
    folder: str | Path, vocabulary: Vocabulary, seconds: float = 10.0, on_error: OnError = "stop"
) -> Manifest:
    """Read all recordings below a folder as unlabelled training clips (``?``).

    A recording of 1.5 times ``seconds`` or more is cut into equal clips of about ``seconds``.

    Raises
    ------
    ManifestError
        If there is no audio below ``folder``, or for faults in the data with ``on_error="stop"``.
    """
    folder, left_out, problems = Path(folder), Tally(), Tally()
    paths = list(audio_below(folder, left_out, problems))
    rows = []
    with ThreadPoolExecutor(DISK_THREADS) as pool:
        for path, cuts in zip(paths, pool.map(lambda path: _cuts(str(folder / path), seconds), paths), strict=True):
            if isinstance(cuts, str):
                problems.add(cuts, str(folder / path))
            else:
                rows += [Row(path, start, duration, UNKNOWN, "train") for start, duration in cuts]
    problems.raise_on_stop(on_error, str(folder))
    if not rows:
        raise ManifestError(f"{folder}: no audio in it" + (f" but {problems}" if problems else ""))
    left_out.update(problems)
    return build_manifest(rows, vocabulary, folder, on_error, left_out, look=False)


def _cuts(path: str, seconds: float) -> list[tuple[str, str]] | str:
    """Start and duration of each clip of a recording, as text; or the kind of fault if it cannot be read."""
    try:
        end = length(path)
    except AudioError:
        return fault(path) or "unreadable audio"
    count = max(1, round(end / seconds))
    if count == 1:
        return [("", "")]
    bounds = np.linspace(0, end, count + 1).round(3).tolist()
    return [(str(start), str(round(stop - start, 3))) for start, stop in pairwise(bounds)]
