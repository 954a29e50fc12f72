"""Classes that YAMNet detects in a clip without a label for them: they are unknown, since nobody checked them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sedkit.contract import Label
from training.data.manifest.columns import Labels
from training.data.manifest.table import Manifest
from training.networks.yamnet_tflite import match_classes

SCORE = 0.2  # of YAMNet, as the mean over a clip's frames, at which a class without a label becomes unknown


def mark_unchecked(
    manifest: Manifest, scores: NDArray[np.float32], classes: Sequence[Label], score: float = SCORE
) -> Manifest:
    """Mark as unknown the absent classes of each clip that another model detects.

    Parameters
    ----------
    scores : [clips, classes], that model's.
    classes : of the scores, matched to the manifest's by name.
    score : lowest score of a detection.
    """
    targets = manifest.targets()
    detected = match_classes(scores, classes, manifest.vocabulary.labels) >= score
    unknown = np.isnan(targets) | (detected & (targets == 0))
    unknown &= manifest.labels.known[:, None]
    labels = manifest.labels
    clips, columns = np.nonzero(unknown)
    unchecked = Labels.of_pairs(clips, columns, len(manifest))
    return manifest.with_labels(Labels(labels.offsets, labels.classes, labels.known, unchecked))
