"""Split a data set into train, validation and test, or into k parts: by group, stratified by class, reproducible."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from training.data.manifest.columns import TEXT, Labels, scalar
from training.data.manifest.paths import relative
from training.data.manifest.problems import ManifestError
from training.data.manifest.table import SPLITS, Manifest

NO_FOLD = "none"  # in place of a test fold: all folds are for training


@dataclass(frozen=True)
class Splitting:
    """How to split a data set that does not define its own splits.

    Attributes
    ----------
    test_fold : the fold that becomes the test split; ``NO_FOLD`` if none does; None if the data has no folds.
    test_share : share (0 to 1) of the clips of every class for the test split, by group.
    validation_share : share of the remaining clips of every class for the validation split, by group.
    seed : seed of the draw of groups.
    """

    test_fold: str | None = None
    test_share: float = 0.0
    validation_share: float = 0.1
    seed: int = 0

    def split_of(self, fold: str) -> str:
        """Split of a clip of ``fold``; empty if the data has no folds."""
        if self.test_fold is None:
            return ""
        return "test" if fold == self.test_fold else "train"

    def apply(self, manifest: Manifest) -> Manifest:
        """Split the clips of ``train`` and those without a split.

        If a group lies both in the test fold and in another, its clips outside the test fold are left out.

        Raises
        ------
        ManifestError
            If no clip lies in the test fold.
        """
        manifest = manifest.check_splits("skip")
        if self.test_fold not in (None, NO_FOLD) and "test" not in manifest.splits:
            raise ManifestError(f"no clip in fold {self.test_fold}; name a fold of the data with --test-fold")
        manifest = hold_out(manifest, "test", self.test_share, self.seed)
        return hold_out(manifest, "validation", self.validation_share, self.seed)


def complete_splits(manifest: Manifest) -> Manifest:
    """Give clips without a split the one that clips of their group or file have.

    Groups that share a file count as one. If its clips have several splits, ``test`` is given, or else ``validation``.
    """
    groups = _linked(_groups(manifest, manifest.root()).indices.to_numpy(), manifest)
    ranks = pc.index_in(manifest.splits.plain(), pa.array(SPLITS, TEXT)).fill_null(-1).to_numpy()
    highest = np.full(len(manifest), -1)
    np.maximum.at(highest, groups, ranks)
    ranks = np.where(ranks < 0, highest[groups], ranks)
    return manifest.with_splits(pa.array(["", *SPLITS], TEXT).take(pa.array(ranks + 1)))


def hold_out(manifest: Manifest, split: str, share: float, seed: int = 0) -> Manifest:
    """Move whole groups, about ``share`` (0 to 1) of the clips of every class, from ``train`` to ``split``.

    Clips without a split count as ``train`` and are moved there. If ``split`` already has clips, or ``share`` is 0,
    nothing else moves. Groups that share a file move together.

    Classes are processed from the rarest to the most frequent. The groups of a class come in the order of a hash of
    ``seed`` and their name, so that added clips do not reshuffle the others. A group moves if that brings its class
    closer to the share and leaves every class at least one group in ``train``. Groups with an unlabelled clip stay in
    ``train``.
    """
    splits = pa.array(["train"], TEXT).take(pa.array(np.zeros(len(manifest), np.int64)))
    splits = pc.if_else(pc.equal(manifest.splits.plain(), ""), splits, manifest.splits.plain())
    if manifest.splits.count(split) or share <= 0:
        return manifest.with_splits(splits)
    rows = np.flatnonzero(pc.equal(splits, "train").to_numpy(zero_copy_only=False))
    training = manifest.take(rows)
    encoded = _groups(training, manifest.root())
    groups = _linked(_draws(seed, encoded.dictionary)[encoded.indices.to_numpy()], training)
    moved = _choose(training.labels, groups, share)
    moved[groups[~training.labels.known]] = False
    mask = np.zeros(len(manifest), bool)
    mask[rows] = moved[groups]
    return manifest.with_splits(pc.if_else(pa.array(mask), scalar(split), splits))


def assign_parts(manifest: Manifest, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Cut the labelled training clips into ``count`` parts for k-fold cross-fitting.

    A group stays whole, and groups that share a file stay together. They are placed from the largest to the smallest,
    each in the part where its rarest class has the fewest clips.

    Returns
    -------
    [clips] the part of each clip, 0 to ``count`` - 1; -1 for clips that are not labelled training clips.

    Raises
    ------
    ManifestError
        If there are fewer groups than parts.
    """
    train = manifest.labelled("train")
    training = manifest.take(train)
    names = [group or path for group, path in zip(training.groups, training.paths, strict=True)]
    _, group = np.unique(names, return_inverse=True)
    _, group, clips = np.unique(_linked(group, training), return_inverse=True, return_counts=True)
    if len(clips) < count:
        raise ManifestError(f"{len(clips)} groups of training clips cannot be cut into {count} parts")
    classes = len(manifest.vocabulary)
    rarest = np.full(len(clips), classes)  # groups without labels form a class of their own
    frequency, labelled = training.labels.counts(classes), group[training.labels.clips()]
    order = np.lexsort((-frequency[training.labels.classes], labelled))
    rarest[labelled[order]] = training.labels.classes[order]  # the last assignment, the rarest class, wins
    class_sizes, sizes, part = np.zeros((classes + 1, count)), np.zeros(count), np.zeros(len(clips), np.int64)
    for this in np.lexsort((np.random.default_rng(seed).permutation(len(clips)), -clips)):
        part[this] = np.lexsort((sizes, class_sizes[rarest[this]]))[0]
        class_sizes[rarest[this], part[this]] += clips[this]
        sizes[part[this]] += clips[this]
    part_of_clip = np.full(len(manifest), -1)
    part_of_clip[train] = part[group]
    return part_of_clip


def _groups(manifest: Manifest, root: str) -> pa.DictionaryArray:
    """Each clip's group, or its file's name relative to ``root`` if it has none."""
    groups = manifest.groups.plain()
    return pc.if_else(pc.equal(groups, scalar("")), relative(manifest.paths, root), groups).dictionary_encode()


def _linked(groups: NDArray[np.int64], manifest: Manifest) -> NDArray[np.int64]:
    """[clips] the lowest of ``groups`` [clips] that files in several groups link, directly or not, to a clip's own."""
    files: NDArray[np.int64] = manifest.paths.encoded.indices.to_numpy()
    lowest = np.arange(groups.max(initial=-1) + 1)
    while True:
        of_file = np.full(files.max(initial=-1) + 1, len(lowest))
        np.minimum.at(of_file, files, lowest[groups])
        if (of_file[files] == lowest[groups]).all():
            return lowest[groups]
        np.minimum.at(lowest, lowest[groups], of_file[files])
        lowest = lowest[lowest]


def _choose(labels: Labels, groups: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """[groups] True where a group moves. ``groups`` [clips] is each clip's group, numbered in the order of the draw."""
    count = groups.max(initial=-1) + 1
    classes = int(labels.classes.max(initial=0)) + 1
    pairs, clips = np.unique(groups[labels.clips()] * classes + labels.classes, return_counts=True)
    # Group g has clips[first[g]:first[g + 1]] clips of the classes label[first[g]:first[g + 1]].
    group, label = np.divmod(pairs, classes)
    first = np.searchsorted(group, np.arange(count + 1))
    total = np.bincount(label, clips, classes)
    staying, taken = np.bincount(label, minlength=classes), np.zeros(classes)
    moved = np.zeros(count, bool)
    by_label = np.split(np.lexsort((group, label)), np.cumsum(staying)[:-1])
    for this in sorted(np.flatnonzero(total), key=lambda this: (total[this], this)):
        for pair in by_label[this]:
            if taken[this] + 0.5 > share * total[this]:
                break  # even a group with one clip would exceed the share
            pairs_of_group = slice(first[group[pair]], first[group[pair] + 1])
            closer = taken[this] + clips[pair] / 2 <= share * total[this]
            if closer and not moved[group[pair]] and staying[label[pairs_of_group]].min() >= 2:
                moved[group[pair]] = True
                taken[label[pairs_of_group]] += clips[pairs_of_group]
                staying[label[pairs_of_group]] -= 1
    return moved


def _draws(seed: int, groups: pa.Array) -> NDArray[np.int64]:
    """[groups] the rank of each group in an order that depends only on its name and the seed."""
    digests = [hashlib.sha256(f"{seed}\t{group.as_py()}".encode()).digest() for group in groups]
    ranks = np.empty(len(digests), np.int64)
    ranks[np.argsort(np.array(digests, "S32"), kind="stable")] = np.arange(len(digests))
    return ranks
