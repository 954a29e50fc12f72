"""What the headers of audio files say about the clips of a manifest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from training.data.audio import header
from training.data.manifest.columns import CHUNK, Texts
from training.data.manifest.problems import Faults

DISK_THREADS = 16  # threads that read headers: the disk is the bottleneck
TOLERANCE = 0.1  # seconds by which a clip may end after its file: times are rounded


def audio_faults(paths: Texts, starts: NDArray[np.float64], durations: NDArray[np.float64]) -> Faults:
    """Clips whose file is missing or cannot be read, or that lie beyond the end of their file.

    Parameters
    ----------
    paths, starts, durations : of the clips, as in :class:`training.data.manifest.table.Manifest`.
    """
    files, codes = Texts(paths.encoded.dictionary, paths.prefix), paths.encoded.indices.to_numpy()
    with ThreadPoolExecutor(DISK_THREADS) as pool:
        parts = (files[start : start + CHUNK] for start in range(0, len(files), CHUNK))
        headers = [found for part in parts for found in pool.map(header, part)]
    lengths = np.array([seconds for _, seconds in headers], np.float64)[codes]
    faults = Faults(len(paths))
    for kind in sorted({kind for kind, _ in headers if kind}):
        faults.mark(kind, np.array([kind == this for this, _ in headers])[codes], paths.__getitem__)

    def times(row: int) -> str:
        duration = "" if np.isnan(durations[row]) else f", duration {durations[row]:g}"
        return f"{paths[row]} of {lengths[row]:.6g} s: start {starts[row]:g}{duration}"

    faults.mark("clip beyond the end of its file", starts >= lengths, times)
    faults.mark("clip that ends after its file", starts + durations > lengths + TOLERANCE, times)
    return faults
