"""Epoch orders, class weights and label noise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from training.data.augment.label_noise import noisy, with_noise
from training.data.commands import main
from training.data.manifest.columns import Labels
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.sampling import balanced, by_shard, class_weights, shuffled


def random(seed=0):
    return np.random.default_rng(seed)


ORDERS = {
    "shuffled": lambda size, draw: shuffled(1000, size, draw),
    "by_shard": lambda size, draw: by_shard(np.array([300, 1, 299, 400]), size, draw),
    "balanced": lambda size, draw: balanced(np.ones(1000), 1000, size, draw),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders_are_full_batches_and_depend_on_the_seed(name):
    first, same, other = (ORDERS[name](48, random(seed)) for seed in (1, 1, 2))
    assert first.shape == (20, 48)
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    assert ORDERS[name](5000, random()).shape == (1, 1000)


@pytest.mark.parametrize("name", ["shuffled", "by_shard"])
@pytest.mark.parametrize("size", [8, 125, 1000])
def test_shuffled_and_by_shard_draw_every_clip_once(name, size):
    assert sorted(ORDERS[name](size, random()).ravel()) == list(range(1000))


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
def test_by_shard_ranks_draw_each_clip_once(ranks):
    order = by_shard(np.full(40, 25), 40, random())
    parts = [np.array_split(batch, ranks)[rank] for rank in range(ranks) for batch in order]
    assert sorted(np.concatenate(parts)) == list(range(1000))


def test_by_shard_rank_reads_few_shards_consecutively():
    order = by_shard(np.full(64, 100), 64, random(), lanes=8, window=50)
    lane = order[:, :8]  # the part of the first of eight ranks
    shards = lane // 100
    assert len(np.unique(shards)) <= 9  # of 64; a lane may begin and end within a shard
    changes = (np.diff(shards[::7].max(axis=1)) != 0).sum()
    assert changes < 30  # consecutive batches mostly read the same shard
    for shard in np.unique(shards):
        batches = np.flatnonzero((shards == shard).any(axis=1))
        assert np.ptp(batches) < 8 + 50 // 8 * 2  # 100 clips, 8 per batch, and shared windows at both ends


def test_by_shard_batches_mix_lanes():
    order = by_shard(np.full(64, 100), 64, random())
    assert all(len(np.unique(batch // 100)) >= 8 for batch in order)
    assert not np.array_equal(np.sort(order[0]), np.sort(by_shard(np.full(64, 100), 64, random(1))[0]))


def test_class_weights_equal_efficientat():
    labels = Labels.of([(0,), (0, 1), (0,), (), ()])
    weights = class_weights(labels, 3)
    expected = [1000 / 103, 1000 / 103 + 1000 / 101, 1000 / 103, 1000 / 102, 1000 / 102]
    np.testing.assert_allclose(weights, expected)


def test_balanced_draws_rare_classes_equally_often():
    labels = Labels.of([(0,)] * 900 + [(1,)] * 90 + [(2,)] * 9 + [()])
    order = balanced(class_weights(labels, 3, offset=0), 9000, 32, random())
    counts = labels.take(order.ravel()).counts(3)
    np.testing.assert_allclose(counts / order.size, 1 / 4, atol=0.03)
    assert (order == 999).mean() == pytest.approx(1 / 4, abs=0.03)


LABELS = Labels.of([(clip % 5, 5 + clip % 3) if clip % 2 else (clip % 5,) for clip in range(4000)])
ALL = np.ones(4000, bool)


def test_label_noise_has_its_rates():
    made = noisy(LABELS, 8, 0.25, 0.1, ALL, random())
    assert made.lengths.min() == 1
    before, after = (set(zip(held.clips(), held.classes, strict=True)) for held in (LABELS, made))
    double = LABELS.lengths[LABELS.clips()] == 2
    missing = np.array([pair not in after for pair in zip(LABELS.clips(), LABELS.classes, strict=True)])
    # Every clip keeps a label. A flip removes one label and adds another.
    assert missing[~double].mean() == pytest.approx(0.1, abs=0.02)
    assert missing[double].mean() == pytest.approx(0.25 + 0.1 - 0.25**2 / 2, abs=0.03)
    assert len(after - before) / len(before) == pytest.approx(0.1, abs=0.02)


def test_label_noise_depends_on_the_seed_and_spares_other_clips():
    among = ALL.copy()
    among[::2] = False
    made = noisy(LABELS, 8, 0.3, 0.1, among, random(3))
    assert made == noisy(LABELS, 8, 0.3, 0.1, among, random(3))
    assert made != noisy(LABELS, 8, 0.3, 0.1, among, random(4))
    assert made.take(np.flatnonzero(~among)) == LABELS.take(np.flatnonzero(~among))
    assert noisy(LABELS, 8, 0, 0, ALL, random()) == LABELS
    assert (noisy(LABELS, 8, 1, 0, ALL, random()).lengths == 1).all()


def test_label_noise_is_recorded(tmp_path):
    rows = [Row(f"{n}.wav", labels="a;b" if n % 2 else "c", split="test" if n > 90 else "train") for n in range(100)]
    Manifest.from_rows(rows, Vocabulary.of("abc"), tmp_path).save(tmp_path / "set.csv")
    arguments = ["noise", tmp_path / "set.csv", "-o", tmp_path / "noisy.csv", "--drop", "0.5", "--seed", "7"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    before, after = Manifest.load(tmp_path / "set.csv"), Manifest.load(tmp_path / "noisy.csv")
    assert after.paths == before.paths
    assert after.select("test").labels == before.select("test").labels
    record = json.loads((tmp_path / "noisy.noise.json").read_text())
    assert record["manifest_sha256"] == before.sha256()
    assert (record["drop"], record["flip"], record["seed"], record["splits"]) == (0.5, 0, 7, ["train"])
    assert record["labels_missing"] == len(before.labels.classes) - len(after.labels.classes) > 0
    assert record["labels_wrong"] == 0


@pytest.mark.parametrize(("drop", "flip", "message"), [(0.6, 0.5, "sum to at most 1"), (-0.1, 0, "0 or more")])
def test_label_noise_with_invalid_rates(tmp_path, drop, flip, message):
    manifest = Manifest.from_rows([Row("a.wav", labels="a")], Vocabulary.of("ab"), tmp_path)
    with pytest.raises(ManifestError, match=message):
        with_noise(manifest, drop, flip, ["train"], 0)
