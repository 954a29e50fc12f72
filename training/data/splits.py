"""Splitting a data set into train, validation and test: by group, stratified by class, reproducible."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.columns import TEXT, Labels, scalar
from training.data.manifest import Manifest
from training.data.paths import relative


def hold_out(manifest: Manifest, split: str, share: float, seed: int = 0) -> Manifest:
    """Move whole groups, about ``share`` (0 to 1) of every class, from ``train`` to ``split``.

    Clips without a split count as ``train`` and are so afterwards. A manifest that has clips in
    ``split`` already, or a share of 0, is not split further.

    Classes are served from the rarest to the commonest. A class offers its groups in an order drawn by
    ``seed`` (a hash: adding clips does not reshuffle the others), and a group moves where that brings
    the class nearer to its share, and takes no class's last group from training. A group with an unlabelled clip
    stays in ``train``.
    """
    splits = pa.array(["train"], TEXT).take(pa.array(np.zeros(len(manifest), np.int64)))
    splits = pc.if_else(pc.equal(manifest.splits.plain(), ""), splits, manifest.splits.plain())
    if manifest.splits.count(split) or share <= 0:
        return manifest.with_splits(splits)
    rows = np.flatnonzero(pc.equal(splits, "train").to_numpy(zero_copy_only=False))
    training = manifest.take(rows)
    names = relative(training.paths, manifest.root())
    keys = pc.if_else(pc.equal(training.groups.plain(), scalar("")), names, training.groups.plain())
    encoded = keys.dictionary_encode()
    codes = encoded.indices.to_numpy()
    moved = _choose(training.labels, codes, _draws(seed, encoded.dictionary), share)
    moved[codes[~training.labels.known]] = False
    mask = np.zeros(len(manifest), bool)
    mask[rows] = moved[codes]
    return manifest.with_splits(pc.if_else(pa.array(mask), scalar(split), splits))


def _choose(labels: Labels, groups: NDArray[np.int32], draws: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """[groups]: does it move? ``groups`` [clips] is the group of each clip, ``draws`` [groups] their order."""
    classes = int(labels.classes.max(initial=0)) + 1
    pairs, clips = np.unique(groups[labels.clips()].astype(np.int64) * classes + labels.classes, return_counts=True)
    group, label = np.divmod(
        pairs, classes
    )  # group g holds clips[first[g]:first[g + 1]] clips of the classes label[...]
    first = np.searchsorted(group, np.arange(len(draws) + 1))
    total = np.bincount(label, clips, classes)
    staying, taken = np.bincount(label, minlength=classes), np.zeros(classes)
    moved = np.zeros(len(draws), bool)
    by_label = np.split(np.lexsort((draws[group], label)), np.cumsum(staying)[:-1])
    for this in sorted(np.flatnonzero(total), key=lambda this: (total[this], this)):
        for pair in by_label[this]:
            if taken[this] + 0.5 > share * total[this]:
                break  # not even a group with one clip
            held = slice(first[group[pair]], first[group[pair] + 1])
            nearer = taken[this] + clips[pair] / 2 <= share * total[this]
            if nearer and not moved[group[pair]] and staying[label[held]].min() >= 2:
                moved[group[pair]] = True
                taken[label[held]] += clips[held]
                staying[label[held]] -= 1
    return moved


def _draws(seed: int, groups: pa.Array) -> NDArray[np.int64]:
    """[groups]: the place of each in an order that depends on its name and the seed alone."""
    digests = [hashlib.sha256(f"{seed}\t{group.as_py()}".encode()).digest() for group in groups]
    places = np.empty(len(digests), np.int64)
    places[np.argsort(np.array(digests, "S32"), kind="stable")] = np.arange(len(digests))
    return places
