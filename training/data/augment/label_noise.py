"""Simulated label noise, for experiments: some labels missing, some wrong."""

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
    """Remove each label with probability ``drop``, and replace it with probability ``flip``.

    The replacement is drawn uniformly from the other classes. A clip keeps at least one label: if all would be
    removed, one of them stays, unchanged.

    Parameters
    ----------
    classes : number of classes.
    among : [clips] bool, the clips to change.
    """
    clips, count = labels.clips(), len(labels.classes)
    chance, other = random.random(count), (labels.classes + random.integers(1, max(2, classes), count)) % classes
    chance[~among[clips]] = 1
    kept = chance >= drop
    last = np.lexsort((chance, clips))[labels.offsets[1:][labels.lengths > 0] - 1]  # each clip's highest chance
    empty = np.bincount(clips[kept], minlength=len(labels)) == 0
    kept[last[empty[clips[last]]]] = True
    flipped = (chance >= drop) & (chance < drop + flip)
    changed = Labels.of_pairs(clips[kept], np.where(flipped, other, labels.classes)[kept], len(labels))
    return Labels(changed.offsets, changed.classes, labels.known, labels.unchecked)


def with_noise(
    manifest: Manifest, drop: float, flip: float, splits: Sequence[str], seed: int
) -> tuple[Manifest, dict[str, Any]]:
    """Add noise to the labels of ``splits``.

    Returns
    -------
    manifest : with noisy labels.
    record : settings, and the numbers of labels that are missing and wrong, for ``NAME.noise.json``.

    Raises
    ------
    ManifestError
        If ``drop`` and ``flip`` are not probabilities whose sum is at most 1, or if labels are to be flipped and
        there is only one class.
    """
    classes = len(manifest.vocabulary)
    if not (drop >= 0 and flip >= 0 and drop + flip <= 1):
        raise ManifestError(f"drop {drop:g} and flip {flip:g} must be 0 or more and sum to at most 1")
    if flip and classes < 2:
        raise ManifestError("a manifest with one class has no other class to flip labels to; leave out --flip")
    among = np.logical_or.reduce([manifest.splits.equals(split) for split in splits])
    labels = noisy(manifest.labels, classes, drop, flip, among, np.random.default_rng(seed))
    before, after = (column.clips() * classes + column.classes for column in (manifest.labels, labels))
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
