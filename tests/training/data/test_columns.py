"""Columns behave like lists of text and of classes, and 200,000 rows need little time and memory."""

from __future__ import annotations

import os
import time
from itertools import islice

import numpy as np
import pytest

from sedkit.contract import Label
from training.data.manifest.columns import Labels, Texts
from training.data.manifest.problems import ManifestError
from training.data.manifest.rows import Row
from training.data.manifest.splits import hold_out
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary

CLASSES = [f"/m/{place:05x}" for place in range(527)]
VOCABULARY = Vocabulary(Label(f"class {place}", mid, place) for place, mid in enumerate(CLASSES))


def write(path, rows, seed=0):
    """Write a manifest like AudioSet's: one file per clip, labels from 527 classes with a long tail."""
    random = np.random.default_rng(seed)
    share = 1 / np.arange(1, 528)
    labels = random.choice(527, 3 * rows, p=share / share.sum()).reshape(rows, 3)
    many = random.integers(1, 4, rows)
    lines = []
    for row in range(rows):
        mids = ";".join(CLASSES[place] for place in dict.fromkeys(labels[row, : many[row]]))
        lines.append(f"audio/{row % 40:02}/Y{row:011}.flac,{mids},{'train' if row % 100 else 'test'},{row:011}\n")
    path.write_text("path,labels,split,group\n" + "".join(lines))
    return path


def seconds(work):
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


@pytest.mark.slow
def test_large_manifest_time_and_memory_grow_linearly(tmp_path):
    path, part = write(tmp_path / "set.csv", 200_000), tmp_path / "part.csv"
    with path.open() as file:
        part.write_text("".join(islice(file, 50_001)))
    Manifest.load(part, VOCABULARY)  # warm-up: imports and threads
    small, _ = seconds(lambda: Manifest.load(part, VOCABULARY))
    large, manifest = seconds(lambda: Manifest.load(path, VOCABULARY))
    assert len(manifest) == 200_000
    assert large < 10 * small + 0.5  # 4 if proportional
    assert large < 10  # s of processor time; about 1 is typical
    texts = (manifest.paths, manifest.splits, manifest.groups, manifest.licenses, manifest.attributions)
    arrays = (manifest.starts, manifest.durations, manifest.labels.offsets, manifest.labels.classes)
    held = sum(column.values.nbytes for column in texts) + sum(array.nbytes for array in arrays)
    assert held < 150 * len(manifest)
    spent, targets = seconds(lambda: manifest.targets(np.arange(0, 200_000, 1000)))
    assert targets.shape == (200, 527)
    assert spent < 0.5
    assert [np.flatnonzero(row).tolist() for row in targets[:3]] == [
        list(manifest.labels[row]) for row in (0, 1000, 2000)
    ]
    spent, _ = seconds(lambda: hold_out(manifest, "validation", 0.01))
    assert spent < 10


def test_faults_in_a_large_manifest_are_counted_with_examples(tmp_path):
    path = write(tmp_path / "set.csv", 70_000)  # more than one block of rows
    lines = path.read_text().splitlines()
    lines[60_001] = lines[60_000]
    lines[69_000] = lines[69_000].replace("/m/", "/x/")
    lines[3] = lines[3].replace(",train,", ",dev,")
    path.write_text("\n".join(lines))
    manifest = Manifest.load(path, VOCABULARY, "skip")
    assert manifest.dropped.counts == {"clip listed twice": 1, "unknown label": 1, "unknown split": 1}
    assert len(manifest) == 70_000 - 3
    with pytest.raises(ManifestError, match=r"unknown label \('/x/\w+' of audio/39/Y00000068999.flac\)"):
        Manifest.load(path, VOCABULARY)
    assert manifest.sha256() == Manifest.load(path, VOCABULARY, "skip").sha256()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.wav", "/data/a.wav"),
        ("b/../a.wav", "/data/a.wav"),
        ("./a.wav", "/data/a.wav"),
        ("..a/.b/c..wav", "/data/..a/.b/c..wav"),
        ("../other/a.wav", "/other/a.wav"),
        ("b//a.wav", "/data/b/a.wav"),
        ("/else/where.wav", "/else/where.wav"),
        ("/else/../where.wav", "/where.wav"),
    ],
)
def test_paths_become_absolute_and_normalised(tmp_path, text, expected):
    manifest = Manifest.from_rows([Row(text, labels=CLASSES[0]), Row("z.wav", labels=CLASSES[1])], VOCABULARY, "/data")
    assert manifest.paths == [expected, "/data/z.wav"]
    assert manifest.take([0]).names() == [os.path.basename(expected)]
    assert [row.path for row in manifest.rows("/data")] == [expected.removeprefix("/data/"), "z.wav"]


def test_texts_behave_like_a_list():
    texts = Texts.of(["b", "", "b", "ä"])
    assert texts == ["b", "", "b", "ä"]
    assert texts != ["b", "", "b"]
    assert (texts[-1], texts[1:3], list(texts)) == ("ä", ["", "b"], ["b", "", "b", "ä"])
    assert (texts.count("b"), texts.count("c"), "ä" in texts, "c" in texts) == (2, 0, True, False)
    assert texts.distinct() == ["b", "", "ä"]
    assert texts.take(np.array([3, 0])) == ["ä", "b"]
    assert repr(texts) == "Texts(['b', '', 'b'], 4 in all)"
    with pytest.raises(IndexError):
        texts[4]


def test_labels_behave_like_a_list_of_tuples():
    labels = Labels.of([(2, 1), (), (0,), (1,)])
    assert labels == [(1, 2), (), (0,), (1,)]
    assert (labels[-1], labels[:2]) == ((1,), [(1, 2), ()])
    assert labels.take(np.array([2, 0, 1, 0])) == [(0,), (1, 2), (), (1, 2)]
    assert labels.counts(4).tolist() == [1, 2, 1, 0]
    assert labels.texts(["a", "b", "c"]).to_pylist() == ["b;c", "", "a", "b"]
    np.testing.assert_array_equal(labels.multi_hot(3), [[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert Labels.of_pairs(np.array([3, 0, 0, 0]), np.array([1, 2, 1, 2]), 4) == [(1, 2), (), (), (1,)]
    with pytest.raises(IndexError):
        labels[4]
