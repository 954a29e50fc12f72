"""Label noise, for experiments on learning from labels as people give them: some missing, some wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.manifest.columns import Labels
from training.data.manifest.problems import ManifestError
from training.data.manifest.table import Manifest


def noisy(
    labels: Labels, classes: int, drop: float, flip: float, among: NDArray[np.bool_], random: np.random.Generator
) -> Labels:
    """``labels`` of which each is missing with probability ``drop``, and another class with probability ``flip``.

    That is any other class, with equal chance. A clip keeps at least one label: where all would be missing,
    one that is drawn by chance stays as it is. Clips that are not ``among`` [clips] keep their labels.
    """
    clips, count = labels.clips(), len(labels.classes)
    chance, other = random.random(count), (labels.classes + random.integers(1, max(2, classes), count)) % classes
    chance[~among[clips]] = 1
    kept = chance >= drop
    best = np.lexsort((chance, clips))[labels.offsets[1:][labels.lengths > 0] - 1]  # a clip's label of highest chance
    bare = np.bincount(clips[kept], minlength=len(labels)) == 0
    kept[best[bare[clips[best]]]] = True
    flipped = (chance >= drop) & (chance < drop + flip)
    spoilt = Labels.of_pairs(clips[kept], np.where(flipped, other, labels.classes)[kept], len(labels))
    return Labels(spoilt.offsets, spoilt.classes, labels.known)


def with_noise(
    manifest: Manifest, drop: float, flip: float, splits: Sequence[str], seed: int
) -> tuple[Manifest, dict[str, Any]]:
    """The manifest with noise in the labels of ``splits``, and a record of what was done.

    Raises
    ------
    ManifestError
        If the rates are no probabilities that exclude each other, or there is but one class to flip to.
    """
    classes = len(manifest.vocabulary)
    if not (drop >= 0 and flip >= 0 and drop + flip <= 1):
        raise ManifestError(f"drop {drop:g} and flip {flip:g} must be 0 or more and sum to at most 1")
    if flip and classes < 2:
        raise ManifestError("one class alone cannot be mistaken for another; leave out --flip")
    among = np.logical_or.reduce([manifest.splits.equals(split) for split in splits])
    labels = noisy(manifest.labels, classes, drop, flip, among, np.random.default_rng(seed))
    before, after = (held.clips() * classes + held.classes for held in (manifest.labels, labels))
    record = {
        "manifest_sha256": manifest.sha256(),
        "drop": drop,
        "flip": flip,
        "seed": seed,
        "splits": list(splits),
        "clips": int(among.sum()),
        "labels": int(manifest.labels.lengths[among].sum()),
        "labels_missing": len(np.setdiff1d(before, after)),
        "labels_wrong": len(np.setdiff1d(after, before)),
    }
    return manifest.with_labels(labels), record
