"""Clips of a single sound: one label, or one label and its parents in AudioSet's ontology."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sedkit.ontology import load
from training.data.manifest.table import Manifest


def most_specific(manifest: Manifest) -> NDArray[np.int64]:
    """[clips] the label of each clip that lies below all of its others; -1 if there is none, or no label at all."""
    ontology, labels = load(), manifest.vocabulary.labels
    below = [ontology.below(label.mid or "") for label in labels]

    def lowest(classes: tuple[int, ...]) -> int:
        mids = [labels[index].mid for index in classes]
        candidates = (
            index for index in classes if all(labels[index].mid in below[other] for other in classes if other != index)
        )
        return next(candidates, -1) if None not in mids else -1

    found = np.full(len(manifest), -1)
    single = manifest.labels.lengths == 1
    found[single] = manifest.labels.take(np.flatnonzero(single)).classes
    known: dict[tuple[int, ...], int] = {}
    for clip in np.flatnonzero(manifest.labels.lengths > 1).tolist():
        classes = manifest.labels[clip]
        if classes not in known:
            known[classes] = lowest(classes)
        found[clip] = known[classes]
    return found
