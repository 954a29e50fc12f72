"""Manifests: reading, faults, hash, vocabularies and hold-out splits."""

from __future__ import annotations

import numpy as np
import pytest

from sedkit.contract import Label
from sedkit.errors import OutputError, SedkitError
from training.data.manifest.problems import ManifestError, Tally
from training.data.manifest.rows import Row
from training.data.manifest.splits import hold_out
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary

DOG, CAT, OWN = Label("Dog", "/m/0bt9lr", 74), Label("Cat", "/m/01yrx", 81), Label("Kettle, singing")
VOCABULARY = Vocabulary([DOG, CAT, OWN])
HEADER = "path,start,duration,labels,split,group,license\n"


def write(folder, rows, header=HEADER, name="set.csv"):
    (folder / name).write_text(header + "".join(row + "\n" for row in rows), "utf-8")
    VOCABULARY.save((folder / name).with_suffix(".labels.csv"))
    return folder / name


def test_load_columns(tmp_path):
    path = write(
        tmp_path,
        [
            "a.wav,,,/m/01yrx;Dog,train,g1,CC0",
            "sub/b.wav,1.5,2,/m/0bt9lr,test,g2,CC-BY",
            f'{tmp_path}/c.wav,0,,"Kettle, singing",,,',
        ],
    )
    manifest = Manifest.load(path)
    assert manifest.paths == [str(tmp_path / name) for name in ("a.wav", "sub/b.wav", "c.wav")]
    assert manifest.labels == [(0, 1), (0,), (2,)]
    np.testing.assert_array_equal(manifest.starts, [0, 1.5, 0])
    np.testing.assert_array_equal(manifest.durations, [np.nan, 2, np.nan])
    assert manifest.splits == ["train", "test", ""]
    assert manifest.groups == ["g1", "g2", ""]
    assert manifest.licenses == ["CC0", "CC-BY", ""]
    assert not manifest.dropped


def test_targets_are_multi_hot(tmp_path):
    manifest = Manifest.load(write(tmp_path, ["a.wav,,,Dog;Cat,train,,", "b.wav,,,Dog,test,,"]))
    targets = manifest.targets()
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(manifest.targets(manifest.indices("test")), [[1, 0, 0]])


def test_select_keeps_rows_in_order(tmp_path):
    rows = [f"{name}.wav,,,Dog,{split},," for name, split in zip("abcd", ("train", "test") * 2, strict=True)]
    manifest = Manifest.load(write(tmp_path, rows))
    test = manifest.select("test")
    assert [path[-5:] for path in test.paths] == ["b.wav", "d.wav"]
    assert manifest.indices("test").tolist() == [1, 3]
    assert len(manifest.select("validation")) == 0


def test_save_and_load_agree(tmp_path):
    rows = [
        'a.wav,,,"Kettle, singing",train,g,"CC0, or so"',
        "b/c.wav,0.1,0.30000000000000004,Dog;Cat,test,,",
        '"d\re.wav",,,Dog,,,',
    ]
    manifest = Manifest.load(write(tmp_path, rows))
    for place in (tmp_path / "again.csv", tmp_path / "elsewhere" / "set.csv"):
        manifest.save(place)
        again = Manifest.load(place)
        assert list(again.rows()) == list(manifest.rows())
        assert again.vocabulary == manifest.vocabulary
        assert again.sha256() == manifest.sha256()
    assert (tmp_path / "again.csv").read_text().splitlines()[1].startswith("a.wav,")
    assert sorted(path.name for path in tmp_path.glob("*")) == [
        "again.csv",
        "again.labels.csv",
        "elsewhere",
        "set.csv",
        "set.labels.csv",
    ]


def test_save_to_a_place_that_is_not_writable(tmp_path):
    manifest = Manifest.load(write(tmp_path, ["a.wav,,,Dog,train,,"]))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        manifest.save(tmp_path / "file" / "set.csv")


def test_hash_does_not_depend_on_the_folder(tmp_path):
    rows = ["audio/a.wav,,,Dog,train,,", "audio/b.wav,,,Cat,test,,"]
    hashes = set()
    for place in ("here", "there/deeper"):
        (tmp_path / place).mkdir(parents=True)
        hashes.add(Manifest.load(write(tmp_path / place, rows)).sha256())
    hashes.add(Manifest.load(write(tmp_path, [f"here/{row}" for row in rows])).sha256())
    assert len(hashes) == 1


@pytest.mark.parametrize(
    "rows",
    [
        ["a.wav,,,Cat,train,,", "b.wav,,,Cat,test,,"],
        ["a.wav,,,Dog,train,,", "b.wav,,,Cat,,,"],
        ["a.wav,,,Dog,train,,", "b.wav,1,,Cat,test,,"],
        ["a.wav,,,Dog,train,,", "c.wav,,,Cat,test,,"],
        ["b.wav,,,Cat,test,,", "a.wav,,,Dog,train,,"],
        ["a.wav,,,Dog,train,,"],
    ],
)
def test_hash_changes_with_the_content(tmp_path, rows):
    first = Manifest.load(write(tmp_path, ["a.wav,,,Dog,train,,", "b.wav,,,Cat,test,,"]))
    assert Manifest.load(write(tmp_path, rows, name="other.csv")).sha256() != first.sha256()


def test_hash_changes_with_the_classes(tmp_path):
    path = write(tmp_path, ["a.wav,,,Dog,train,,"])
    assert Manifest.load(path, Vocabulary([CAT, DOG])).sha256() != Manifest.load(path, Vocabulary([DOG])).sha256()


FAULTS = {
    "unknown label": "x.wav,,,Dog;Dgo,train,,",
    "clip without a label": "x.wav,,,,train,,",
    "row without a path": ",,,Dog,train,,",
    "unknown split": "x.wav,,,Dog,dev,,",
    "bad number": "x.wav,-1,,Dog,train,,",
    "clip listed twice": "sub/../good.wav,,,Cat,train,,",
    "file in two splits": "good.wav,3,,Dog,train,,",
    "group that crosses splits": "x.wav,,,Dog,validation,g,",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_stop_or_are_skipped(tmp_path, kind):
    path = write(tmp_path, ["good.wav,,,Dog,test,g,", FAULTS[kind]])
    with pytest.raises(ManifestError, match=f"set.csv: 1 x {kind}.*--on-error skip") as caught:
        Manifest.load(path)
    assert "\n" not in str(caught.value)
    manifest = Manifest.load(path, on_error="skip")
    assert [name[-8:] for name in manifest.paths] == ["good.wav"]
    assert manifest.dropped.counts == {kind: 1}


@pytest.mark.parametrize("number", ["-1,", "x,", "nan,", "inf,", ",0", ",-2", ",nan", ",inf"])
def test_invalid_start_or_duration(tmp_path, number):
    path = write(tmp_path, ["good.wav,,,Dog,test,,", f"x.wav,{number},Dog,train,,"])
    assert Manifest.load(path, on_error="skip").dropped.counts == {"bad number": 1}


def test_all_faults_are_counted_with_a_few_examples(tmp_path):
    rows = [f"{n}.wav,,,Dgo,train,," for n in range(5)] + ["x.wav,y,,Dog,train,,"]
    with pytest.raises(ManifestError) as caught:
        Manifest.load(write(tmp_path, rows))
    text = str(caught.value)
    assert "5 x unknown label ('Dgo' of 0.wav, 'Dgo' of 1.wav, 'Dgo' of 2.wav, ...); 1 x bad number" in text


def test_skipping_everything_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="no clips in it but 1 x unknown label"):
        Manifest.load(write(tmp_path, ["a.wav,,,Dgo,train,,"]), on_error="skip")


def test_group_of_clips_with_and_without_split_is_valid(tmp_path):
    manifest = Manifest.load(write(tmp_path, ["a.wav,,,Dog,test,g,", "b.wav,,,Dog,,g,", "c.wav,,,Dog,test,g,"]))
    assert len(manifest) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'path'"),
        (b"path,start\na.wav,1\n", "no column 'labels'"),
        (b"path,labels,colour\na.wav,Dog,red\n", "unknown column 'colour'"),
        (b"path,labels\n", "no clips in it"),
        (b"path,labels\na.wav,Dog,more\n", "line 2: more fields than columns"),
        (b"path,labels\n\xff\xfe,Dog\n", "not a CSV file in UTF-8"),
    ],
)
def test_invalid_manifest_files(tmp_path, content, message):
    path = write(tmp_path, [])
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        Manifest.load(path)


def test_missing_manifest_or_vocabulary(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.csv: no such manifest"):
        Manifest.load(tmp_path / "none.csv")
    path = write(tmp_path, ["a.wav,,,Dog,train,,"])
    path.with_suffix(".labels.csv").unlink()
    with pytest.raises(ManifestError, match=r"no set\.labels\.csv beside it"):
        Manifest.load(path)
    assert issubclass(ManifestError, SedkitError)


def test_short_rows_and_missing_columns_are_valid(tmp_path):
    path = write(tmp_path, ["a.wav, Dog", "", "b.wav,Cat"], header="\ufeffpath,labels\n")
    assert Manifest.load(path).labels == [(0,), (1,)]
    path = write(tmp_path, ["Dog,a.wav", "Dog"], header="labels,path\n")
    assert Manifest.load(path, on_error="skip").dropped.counts == {"row without a path": 1}


def test_vocabulary_round_trip(tmp_path):
    VOCABULARY.save(tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_text() == (
        'index,mid,display_name\n74,/m/0bt9lr,Dog\n81,/m/01yrx,Cat\n,,"Kettle, singing"\n'
    )
    assert Vocabulary.load(tmp_path / "labels.csv").labels == (DOG, CAT, OWN)
    assert [VOCABULARY.find(text) for text in ("Dog", "/m/01yrx", "Kettle, singing", "dgo")] == [0, 1, 2, None]


def test_vocabulary_union_is_by_audioset_index():
    union = Vocabulary.union([Vocabulary([OWN, CAT]), Vocabulary([Label("Own 2"), DOG, CAT])])
    assert union.labels == (DOG, CAT, OWN, Label("Own 2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,mid\n1,/m/a\n", "no column 'display_name'"),
        ("index,mid,display_name\n", "no classes"),
        ("index,mid,display_name\nx,/m/a,A\n", "cannot be read"),
        ("index,mid,display_name\n1,/m/a,\n", "without display_name"),
        ("index,mid,display_name\n,,A\n,,A\n", "the name of a class occurs twice"),
        ("index,mid,display_name\n1,/m/a,A\n2,/m/a,B\n", "the mid of a class occurs twice"),
    ],
)
def test_invalid_vocabularies(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        Vocabulary.load(tmp_path / "labels.csv")


def rows_of(classes, groups, clips):
    """Rows with ``groups`` groups of ``clips`` clips for each class."""
    return [
        Row(f"{c}-{g}-{n}.wav", labels=c, group=f"{c}{g}") for c in classes for g in range(groups) for n in range(clips)
    ]


def test_hold_out_takes_whole_groups_of_every_class(tmp_path):
    manifest = Manifest.from_rows(rows_of(("Dog", "Cat"), 20, 3), VOCABULARY, tmp_path)
    split = hold_out(manifest, "validation", 0.2, seed=1)
    counts = split.targets(split.indices("validation")).sum(axis=0)
    np.testing.assert_array_equal(counts, [12, 12, 0])
    assert set(split.splits) == {"train", "validation"}
    assert len(split.check_splits()) == 120  # no group crosses
    assert hold_out(manifest, "validation", 0.2, seed=1).splits == split.splits
    assert hold_out(manifest, "validation", 0.2, seed=2).splits != split.splits


def test_hold_out_leaves_training_clips_of_every_class(tmp_path):
    rows = [*rows_of(("Dog",), 1, 8), *rows_of(("Cat",), 2, 4)]
    split = hold_out(Manifest.from_rows(rows, VOCABULARY, tmp_path), "test", 0.9)
    assert (split.targets(split.indices("train")).sum(axis=0)[:2] > 0).all()


def test_hold_out_does_not_depend_on_the_order_of_clips(tmp_path):
    rows = rows_of(("Dog", "Cat"), 10, 2)
    held = []
    for order in (rows, rows[::-1]):
        split = hold_out(Manifest.from_rows(order, VOCABULARY, tmp_path), "test", 0.3)
        held.append(set(split.select("test").paths))
    assert held[0] == held[1]


def test_hold_out_keeps_an_existing_split(tmp_path):
    rows = [Row("a.wav", labels="Dog", split="validation"), *rows_of(("Dog",), 9, 1)]
    split = hold_out(Manifest.from_rows(rows, VOCABULARY, tmp_path), "validation", 0.5)
    assert split.splits == ["validation"] + ["train"] * 9


def test_tally_adds_up():
    first, second = Tally(), Tally()
    for n in range(4):
        first.add("fault", f"{n}")
    second.add("fault", "x")
    second.add("other", "y")
    first.update(second)
    assert first.lines() == ["5 x fault (0, 1, 2, ...)", "1 x other (y)"]
    assert not Tally()
