"""Summaries of a manifest for people: its size, and the data set each clip comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.manifest.naming import recordings
from training.data.manifest.table import SPLITS, Manifest


def describe(manifest: Manifest) -> str:
    """A few lines: clips per split, clips per class, and what was left out."""
    sizes = {split or "unassigned": manifest.splits.count(split) for split in (*SPLITS, "")}
    counts, known = manifest.labels.counts(len(manifest.vocabulary)), manifest.labels.known
    negatives, unlabelled = int((known & (manifest.labels.lengths == 0)).sum()), int((~known).sum())
    lines = [
        f"{len(manifest)} clips, {len(manifest.vocabulary)} classes: "
        + ", ".join(f"{size} {split}" for split, size in sizes.items() if size),
        f"clips per class: {counts.min()} to {counts.max()}"
        + (f"; of no class: {negatives}" if negatives else "")
        + (f"; unlabelled: {unlabelled}" if unlabelled else ""),
    ]
    return "\n".join(lines + [f"left out: {line}" for line in manifest.dropped.lines()])


def sources(manifest: Manifest) -> list[str]:
    """The data set each clip comes from, as the name of a folder.

    It is the clip's folder directly below the common folder of all labelled clips, or that common folder where the
    clip lies in it. Clips without labels are ``(none of the classes)`` or ``(unlabelled)``.
    """
    rows = np.flatnonzero(manifest.labels.lengths)
    labelled = manifest.take(rows)
    names = ["(none of the classes)" if known else "(unlabelled)" for known in manifest.labels.known]
    for row, path in zip(rows.tolist(), labelled.names(), strict=True):
        names[row] = path.partition("/")[0] if "/" in path else Path(labelled.root()).name
    return names


def class_sources(manifest: Manifest) -> list[tuple[int, int]]:
    """For each class, the numbers of groups and of attributions of its clips in the training and validation splits.

    A clip without a group is a group of its own.
    """
    used = manifest.take(np.flatnonzero(np.isin(list(manifest.splits), ("train", "validation"))))
    groups = recordings(used)
    counted = []
    for names in (groups, list(used.attributions)):
        codes = np.unique(names, return_inverse=True)[1]
        pairs = np.unique(np.column_stack([used.labels.classes, codes[used.labels.clips()]]), axis=0)
        counted.append(np.bincount(pairs[:, 0], minlength=len(manifest.vocabulary)).tolist())
    return list(zip(*counted, strict=True))
