"""Splitting a data set into train, validation and test: by group, stratified by class, reproducible."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.manifest.columns import TEXT, Labels, scalar
from training.data.manifest.paths import relative
from training.data.manifest.problems import ManifestError
from training.data.manifest.table import Manifest


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


def parts(manifest: Manifest, count: int, seed: int = 0) -> NDArray[np.int64]:
    """[clips]: in which of ``count`` parts of the labelled training clips each lies; -1: it is none of them.

    No group lies in two parts. Each of them, the largest first, goes where its rarest class has the fewest clips.

    Raises
    ------
    ManifestError
        If there are fewer groups than parts.
    """
    train = manifest.labelled("train")
    learnt = manifest.take(train)
    names = [group or path for group, path in zip(learnt.groups, learnt.paths, strict=True)]
    _, group, clips = np.unique(names, return_inverse=True, return_counts=True)
    if len(clips) < count:
        raise ManifestError(f"{len(clips)} groups of clips to train on cannot be cut into {count} parts")
    classes = len(manifest.vocabulary)
    rarest = np.full(len(clips), classes)  # of no class: as if that were one
    common, labelled = learnt.labels.counts(classes), group[learnt.labels.clips()]
    order = np.lexsort((-common[learnt.labels.classes], labelled))
    rarest[labelled[order]] = learnt.labels.classes[order]  # of several, the last
    held, sizes, place = np.zeros((classes + 1, count)), np.zeros(count), np.zeros(len(clips), np.int64)
    for one in np.lexsort((np.random.default_rng(seed).permutation(len(clips)), -clips)):
        place[one] = np.lexsort((sizes, held[rarest[one]]))[0]
        held[rarest[one], place[one]] += clips[one]
        sizes[place[one]] += clips[one]
    part = np.full(len(manifest), -1)
    part[train] = place[group]
    return part


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
