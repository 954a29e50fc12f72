"""Where the clips of a manifest are from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.manifest.table import Manifest


def sources(manifest: Manifest) -> list[str]:
    """Where each clip is from: its folder directly below the labelled clips' common one, or that one itself."""
    rows = np.flatnonzero(manifest.labels.lengths)
    labelled = manifest.take(rows)
    found = ["(none of the classes)" if known else "(unlabelled)" for known in manifest.labels.known]
    for row, name in zip(rows.tolist(), labelled.names(), strict=True):
        found[row] = name.partition("/")[0] if "/" in name else Path(labelled.root()).name
    return found
