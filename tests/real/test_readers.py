"""Readers on the real data sets, and the mapping tables against AudioSet's classes."""

from __future__ import annotations

import csv
import os
from collections import Counter

import numpy as np
import pytest

from training.data.manifest.splits import NO_FOLD, Splitting
from training.data.readers import desed, urbansound8k
from training.data.readers.audioset_classes import audioset_labels
from training.data.readers.esc50 import esc50, esc50_labels
from training.data.readers.shipped import FREE, MUSIC, SPEECH
from training.data.readers.shipped import shipped as read_shipped
from training.data.store.decoded import AudioStore


@pytest.fixture(scope="module")
def shipped(data):
    return read_shipped(data, Splitting("5"), look=False)


def test_mapping_tables_agree_with_audioset(data):
    with (data / "audioset" / "class_labels_indices.csv").open(newline="") as file:
        audioset = {row["mid"]: (int(row["index"]), row["display_name"]) for row in csv.DictReader(file)}
    with (data / "esc50" / "esc50.csv").open(newline="") as file:
        order = {row["category"]: int(row["target"]) for row in csv.DictReader(file)}
    labels = esc50_labels()
    assert list(labels) == sorted(order, key=order.__getitem__)
    others = [*audioset_labels(urbansound8k.MAPPING).values(), *audioset_labels(desed.MAPPING).values()]
    for label in (*labels.values(), *others, SPEECH, MUSIC):
        assert audioset[label.mid or ""] == (label.index, label.name)


def test_shipped(shipped):
    assert len(shipped.vocabulary) == 52
    assert shipped.dropped.counts == {"group that crosses splits": 2}
    counts = {split: len(shipped.select(split)) for split in ("train", "validation", "test")}
    assert sum(counts.values()) == 2614
    assert counts["test"] == 720
    assert 180 <= counts["validation"] <= 220
    for split in counts:
        assert (shipped.select(split).targets().sum(axis=0) > 0).all(), split


def test_shipped_trains_on_free_clips_only(shipped):
    for split in ("train", "validation"):
        clips = shipped.select(split)
        esc50 = {license for license, group in zip(clips.licenses, clips.groups, strict=True) if "esc50:" in group}
        assert esc50 == set(FREE)
        assert not [path for path in clips.paths if os.path.basename(path).startswith("5-")]


def test_shipped_without_test_fold(data):
    """All free clips are in train or validation; the test split has the other clips of ESC-50."""
    manifest = read_shipped(data, Splitting(NO_FOLD), look=False)
    sides = {(group, split) for group, split in zip(manifest.groups, manifest.splits, strict=True)}
    assert max(Counter(group for group, _ in sides).values()) == 1
    assert Counter(manifest.splits)["train"] + Counter(manifest.splits)["validation"] == 2386
    assert 220 <= Counter(manifest.splits)["validation"] <= 260
    for split in ("train", "validation"):
        clips = manifest.select(split)
        assert (clips.targets().sum(axis=0) > 0).all(), split
        licenses = {
            (group.partition(":")[0], license) for group, license in zip(clips.groups, clips.licenses, strict=True)
        }
        assert {license for source, license in licenses if source == "esc50"} == set(FREE)
        assert not [license for _, license in licenses if "NC" in license or "Sampling" in license]
    assert Counter(manifest.select("test").licenses) == {"CC-BY-NC": 170, "CC-Sampling+": 60}
    assert not manifest.dropped


def test_shipped_groups_stay_in_one_split(shipped):
    sides = {(group, split) for group, split in zip(shipped.groups, shipped.splits, strict=True)}
    assert max(Counter(group for group, _ in sides).values()) == 1
    assert all(shipped.attributions)


@pytest.mark.parametrize(("fold", "left_out"), [("1", 0), ("2", 2), ("3", 2), ("4", 3), ("5", 2)])
def test_esc50_with_every_test_fold(data, fold, left_out):
    """Clips outside the test fold are left out if their recording has clips in it."""
    manifest = esc50(data / "esc50", Splitting(fold), look=False)
    tests = manifest.targets(manifest.indices("test")).sum(axis=0)
    np.testing.assert_array_equal(tests, np.full(50, 8))
    assert len(manifest) == 2000 - left_out


def test_store_of_real_clips(shipped, tmp_path):
    chosen = shipped.take(shipped.indices("test")[::40])
    store = AudioStore.open_or_build(chosen.check_audio(), tmp_path)
    assert len(store) == len(chosen) == 18
    esc50 = [clip for clip, group in enumerate(chosen.groups) if "esc50:" in group]
    assert (store.lengths[esc50] == 80_000).all()
    assert all(np.abs(store[clip].astype(int)).max() > 100 for clip in range(len(store)))
