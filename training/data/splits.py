"""Splitting a data set into train, validation and test: by group, stratified by class, reproducible."""

from __future__ import annotations

import hashlib
from collections import defaultdict

import numpy as np

from training.data.manifest import Manifest


def hold_out(manifest: Manifest, split: str, share: float, seed: int = 0) -> Manifest:
    """Move whole groups, about ``share`` (0 to 1) of every class, from ``train`` to ``split``.

    Clips without a split count as ``train`` and are so afterwards. A manifest that has clips in
    ``split`` already, or a share of 0, is not split further.

    Classes are served from the rarest to the commonest. A class offers its groups in an order drawn by
    ``seed`` (a hash: adding clips does not reshuffle the others), and a group moves where that brings
    the class nearer to its share, and takes no class's last group from training.
    """
    splits = [name or "train" for name in manifest.splits]
    if split in splits or share <= 0:
        return manifest.with_splits(splits)

    clips: dict[str, list[int]] = defaultdict(list)  # group → rows
    for row, (group, path, name) in enumerate(zip(manifest.groups, manifest.names(), splits, strict=True)):
        if name == "train":
            clips[group or path].append(row)
    content = {group: _count(manifest, rows) for group, rows in clips.items()}
    groups: dict[int, list[str]] = defaultdict(list)  # class → groups that hold it
    for group, counts in content.items():
        for label in counts:
            groups[label].append(group)

    total = np.zeros(len(manifest.vocabulary), np.int64)
    for counts in content.values():
        for label, count in counts.items():
            total[label] += count
    taken, staying, moved = np.zeros_like(total), {label: len(held) for label, held in groups.items()}, set()
    for label in sorted(groups, key=lambda label: (total[label], label)):
        for group in sorted(groups[label], key=lambda group: _draw(seed, group)):
            nearer = taken[label] + content[group][label] / 2 <= share * total[label]
            if group in moved or not nearer or min(staying[other] for other in content[group]) < 2:
                continue
            moved.add(group)
            for other, count in content[group].items():
                taken[other] += count
                staying[other] -= 1
    for group in moved:
        for row in clips[group]:
            splits[row] = split
    return manifest.with_splits(splits)


def _count(manifest: Manifest, rows: list[int]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for row in rows:
        for label in manifest.labels[row]:
            counts[label] += 1
    return counts


def _draw(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\t{group}".encode()).digest()
