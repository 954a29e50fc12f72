"""Readers of ESC-50, the shipped set, plain CSV files and folders, and their commands."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from training.data.commands import main
from training.data.manifest.problems import ManifestError
from training.data.manifest.splits import NO_FOLD, Splitting
from training.data.manifest.table import Manifest
from training.data.manifest.vocabulary import Vocabulary
from training.data.readers.esc50 import MAPPING, esc50_labels
from training.data.readers.esc50 import esc50 as read_esc50
from training.data.readers.folders import folders
from training.data.readers.plain_csv import plain_csv
from training.data.readers.shipped import MUSIC, SPEECH, shipped

FOLD_5 = Splitting("5", validation_share=0)


def table(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])


def audio(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(160), 16_000)


ESC50 = "filename,fold,target,category,esc10,src_file,take,license,author,url"
CLIPS = [  # fold, category, source, licence
    (1, "dog", "10", "CC0"),
    (1, "dog", "10", "CC-BY-NC"),
    (2, "dog", "11", "CC-BY"),
    (3, "cat", "12", "CC-BY-NC"),
    (4, "rooster", "13", "CC0"),  # source 13 spans folds 4 and 5
    (5, "hen", "13", "CC0"),
    (5, "dog", "14", "CC-Sampling+"),
    (4, "cat", "15", "CC-BY"),
]


@pytest.fixture
def esc50(tmp_path):
    rows = []
    for number, (fold, category, source, license) in enumerate(CLIPS):
        name = f"{fold}-{source}-{number}.wav"
        rows.append((name, fold, 0, category, True, source, "A", license, f"author{number}", f"http://x/{number}"))
        audio(tmp_path / "esc50" / "audio" / name)
    table(tmp_path / "esc50" / "esc50.csv", ESC50, rows)
    return tmp_path / "esc50"


@pytest.fixture
def everything(esc50):
    folder = esc50.parent
    people = [(f"{fold}{n}.wav", fold, f"p{fold}", "yes no", "speech", "CC-BY") for fold in (1, 5) for n in (0, 1)]
    tracks = [(f"m{fold}.wav", fold, f"t{fold}", 0, "music", "GPL-2+", "package") for fold in (2, 5)]
    table(folder / "speech" / "speech.csv", "filename,fold,speaker,words,category,license", people)
    table(folder / "music" / "music.csv", "filename,fold,track,start_s,category,license,source", tracks)
    for kind, rows in (("speech", people), ("music", tracks)):
        for row in rows:
            audio(folder / kind / "audio" / row[0])
    return folder


def clip_names(manifest, split):
    return sorted(os.path.basename(path) for path in manifest.select(split).paths)


def class_names(manifest, row):
    return [manifest.vocabulary.labels[place].name for place in manifest.labels[row]]


def test_esc50(esc50):
    manifest = read_esc50(esc50, FOLD_5)
    assert clip_names(manifest, "train") == ["1-10-0.wav", "1-10-1.wav", "2-11-2.wav", "3-12-3.wav", "4-15-7.wav"]
    assert clip_names(manifest, "test") == ["5-13-5.wav", "5-14-6.wav"]
    assert manifest.dropped.lines() == ["1 x group that crosses splits (esc50:13 in train and test)"]
    assert len(manifest.vocabulary) == 50
    assert class_names(manifest, 0) == ["Dog"]
    assert manifest.groups[0] == "esc50:10"
    assert manifest.licenses[:2] == ["CC0", "CC-BY-NC"]
    assert manifest.attributions[1] == "author1 http://x/1"


def test_esc50_filtered_by_licence(esc50):
    manifest = read_esc50(esc50, FOLD_5, licenses=("CC0", "CC-BY"))
    assert set(manifest.licenses) == {"CC0", "CC-BY"}
    assert manifest.dropped.counts == {"clip under another licence": 3, "group that crosses splits": 1}


def test_esc50_with_an_unknown_category(esc50):
    text = (esc50 / "esc50.csv").read_text().replace("rooster", "gryphon")
    (esc50 / "esc50.csv").write_text(text)
    with pytest.raises(ManifestError, match=r"1 x unknown label .*gryphon"):
        read_esc50(esc50, FOLD_5)


def test_esc50_with_missing_and_unreadable_audio(esc50):
    (esc50 / "audio" / "1-10-0.wav").unlink()
    (esc50 / "audio" / "2-11-2.wav").write_text("no audio")
    with pytest.raises(ManifestError, match=r"1 x missing file \(.*1-10-0.wav\); 1 x unreadable audio"):
        read_esc50(esc50, FOLD_5)
    manifest = read_esc50(esc50, FOLD_5, on_error="skip")
    assert len(manifest) == 5
    assert manifest.dropped.counts["missing file"] == 1


def test_esc50_with_a_missing_test_fold(esc50):
    with pytest.raises(ManifestError, match="no clip in fold 9"):
        read_esc50(esc50, Splitting("9"))


def test_esc50_mapping_table():
    labels = esc50_labels()
    assert len(labels) == 50
    assert list(labels)[:3] == ["dog", "rooster", "pig"]
    assert len({label.mid for label in labels.values()}) == len({label.index for label in labels.values()}) == 50
    with MAPPING.open() as file:
        for row in csv.DictReader(file):
            assert row["relation"] in ("exact", "broader", "narrower", "nearest")
            assert bool(row["note"]) == (row["relation"] != "exact"), row["category"]


def test_shipped(everything):
    manifest = shipped(everything, FOLD_5)
    assert clip_names(manifest, "train") == ["1-10-0.wav", "10.wav", "11.wav", "2-11-2.wav", "4-15-7.wav", "m2.wav"]
    # The test fold under any licence, and a clip that is not free, of a recording that is not in training (3-12-3).
    assert clip_names(manifest, "test") == ["3-12-3.wav", "5-13-5.wav", "5-14-6.wav", "50.wav", "51.wav", "m5.wav"]
    assert manifest.dropped.counts == {
        "group that crosses splits": 1,
        "clip whose licence excludes training, of a recording in training": 1,
    }
    indices = [label.index for label in manifest.vocabulary.labels]
    assert len(indices) == 52
    assert indices == sorted(indices)
    held = {os.path.basename(path): row for row, path in enumerate(manifest.paths)}
    assert class_names(manifest, held["10.wav"]) == ["Speech"]
    assert class_names(manifest, held["m2.wav"]) == ["Music"]
    assert manifest.groups[held["10.wav"]] == manifest.groups[held["11.wav"]] == "speech:p1"
    assert manifest.attributions[held["m2.wav"]] == "t2, package"


def test_shipped_without_test_fold(everything):
    manifest = shipped(everything, Splitting(NO_FOLD, validation_share=0))
    assert clip_names(manifest, "train") == [
        "1-10-0.wav", "10.wav", "11.wav", "2-11-2.wav", "4-13-4.wav", "4-15-7.wav", "5-13-5.wav", "50.wav", "51.wav",
        "m2.wav", "m5.wav",
    ]  # fmt: skip
    assert clip_names(manifest, "test") == [
        "3-12-3.wav",
        "5-14-6.wav",
    ]  # 1-10-1's recording is in training
    assert manifest.dropped.counts == {"clip whose licence excludes training, of a recording in training": 1}


def test_shipped_validation_comes_from_training_clips(everything):
    manifest = shipped(everything, Splitting("5", validation_share=0.5))
    whole = shipped(everything, FOLD_5)
    assert clip_names(manifest, "test") == clip_names(whole, "test")
    validation = manifest.select("validation")
    assert len(validation)
    assert set(validation.paths) < set(whole.select("train").paths)
    assert not set(validation.groups) & set(manifest.select("train").groups)


def test_plain_csv_with_other_column_names(tmp_path):
    for name in ("a.wav", "b.wav"):
        audio(tmp_path / "wav" / name)
    table(tmp_path / "t.csv", "file,category,fold,colour", [("a.wav", "x;y", 1, "red"), ("b.wav", "y", 2, "blue")])
    manifest = plain_csv(tmp_path / "t.csv", Splitting("2"), audio=tmp_path / "wav")
    assert [label.name for label in manifest.vocabulary.labels] == ["x", "y"]
    assert manifest.labels == [(0, 1), (1,)]
    assert manifest.splits == ["train", "test"]


def test_plain_csv_with_a_row_for_each_label(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(32000), 16000)
    rows = [("a.wav", "x", 0, 1), ("a.wav", "y", 0, 1), ("a.wav", "x", 1, 1)]
    table(tmp_path / "t.csv", "path,label,start,duration", rows)
    manifest = plain_csv(tmp_path / "t.csv", Splitting())
    assert manifest.labels == [(0, 1), (0,)]
    np.testing.assert_array_equal(manifest.starts, [0, 1])


def test_plain_csv_with_its_own_splits(tmp_path):
    names = [f"{n}.wav" for n in range(8)]
    for name in names:
        audio(tmp_path / name)
    rows = [(name, "x", "validation" if name < "2" else "") for name in names]
    table(tmp_path / "t.csv", "path,labels,split", rows)
    manifest = plain_csv(tmp_path / "t.csv", Splitting(None, 0.25, 0.5))
    assert clip_names(manifest, "validation") == ["0.wav", "1.wav"]
    assert len(manifest.select("test")) in (1, 2)


def test_plain_csv_with_a_vocabulary(tmp_path):
    audio(tmp_path / "a.wav")
    table(tmp_path / "t.csv", "path,labels", [("a.wav", "Speech;Dog"), ("a.wav", "/m/04rlf")])
    vocabulary = Vocabulary([MUSIC, SPEECH])
    with pytest.raises(ManifestError, match=r"1 x unknown label .*Dog"):
        plain_csv(tmp_path / "t.csv", Splitting(), vocabulary)
    table(tmp_path / "t.csv", "path,labels", [("a.wav", "Speech"), ("a.wav", "/m/04rlf")])
    assert plain_csv(tmp_path / "t.csv", Splitting(), vocabulary).labels == [(0, 1)]


@pytest.mark.parametrize(
    ("text", "splitting", "message"),
    [
        ("name,labels\na.wav,x\n", Splitting(), "no column for path; call it path or filename"),
        ("name,labels\na.wav,x\n", Splitting(), r"file_name \(its columns are name, labels\)"),
        ("path;labels\na.wav;x\n", Splitting(), "separated by semicolons; separate them by commas"),
        ("path\tlabels\na.wav\tx\n", Splitting(), "separated by tabs; give it the ending .tsv"),
        ("path\na.wav\n", Splitting(), "no column for labels"),
        ("path,labels\na.wav,x\n", Splitting("1"), "no column for fold"),
        ("path,labels\na.wav,Crowing, cock-a-doodle-doo\n", Splitting(), "line 2: more fields than columns"),
        ("path,labels\n", Splitting(), "the table has no rows"),
    ],
)
def test_plain_csv_faults(tmp_path, text, splitting, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        plain_csv(tmp_path / "t.csv", splitting)


def test_folders(tmp_path):
    for name in ("dog/a.wav", "dog/deep/b.FLAC", "cat/c.ogg", "stray.wav", ".hidden/d.wav"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(160), 16_000)
    (tmp_path / "set" / "dog" / "notes.txt").write_text("")
    manifest = folders(tmp_path / "set", Splitting(validation_share=0))
    assert [(os.path.basename(path), class_names(manifest, row)) for row, path in enumerate(manifest.paths)] == [
        ("c.ogg", ["cat"]),
        ("a.wav", ["dog"]),
        ("b.FLAC", ["dog"]),
    ]
    assert manifest.dropped.counts == {"file outside the class folders": 1, "file that is not audio": 1}


def test_folders_of_noise_are_of_no_class(tmp_path):
    for name in ("dog", "_noise", "-"):
        audio(tmp_path / name / "a.wav")
    manifest = folders(tmp_path, Splitting(validation_share=0))
    assert [label.name for label in manifest.vocabulary.labels] == ["dog"]
    assert [class_names(manifest, row) for row in range(3)] == [[], [], ["dog"]]


@pytest.mark.parametrize("name", ["rain;wind", "?dog", " ?dog", " - ", "-;?dog", " "])
def test_folders_whose_names_mean_something_among_labels(tmp_path, name):
    for folder in ("dog", name):
        audio(tmp_path / folder / "a.wav")
    with pytest.raises(ManifestError) as error:
        folders(tmp_path, Splitting())
    assert str(error.value) == f"{tmp_path / name}: a class cannot have this name: rename the folder"


def test_folders_through_links(tmp_path):
    audio(tmp_path / "elsewhere" / "a.wav")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    assert len(folders(tmp_path / "set", Splitting())) == 1


def test_folders_without_audio(tmp_path):
    with pytest.raises(ManifestError, match="no audio in folders"):
        folders(tmp_path, Splitting())
    with pytest.raises(ManifestError, match="no such folder"):
        folders(tmp_path / "none", Splitting())


def test_merge(esc50, tmp_path):
    audio(tmp_path / "own" / "Kettle" / "k.wav")
    own = folders(tmp_path / "own", Splitting())
    both = Manifest.merge([own, read_esc50(esc50, FOLD_5)])
    assert len(both.vocabulary) == 51
    assert both.vocabulary.labels[-1].name == "Kettle"  # no AudioSet index: last
    assert (len(both), class_names(both, 0), class_names(both, 1)) == (8, ["Kettle"], ["Dog"])
    with pytest.raises(ManifestError, match="1 x clip listed twice"):
        Manifest.merge([own, own])


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_cli_read_check_and_decode(everything, tmp_path):
    output = tmp_path / "set.csv"
    result = run("shipped", everything, "--output", output, "--validation-share", "0")
    assert result.exit_code == 0, result.output
    assert "12 clips, 52 classes: 6 train, 6 test" in result.stderr
    assert "left out: 1 x group that crosses splits" in result.stderr
    assert result.stdout == ""
    assert len(Manifest.load(output)) == 12

    assert run("check", output).exit_code == 0
    decoded = run("decode", output, "--directory", tmp_path / "audio")
    assert decoded.exit_code == 0, decoded.output
    assert "12 clips" in decoded.stdout

    (everything / "music" / "audio" / "m2.wav").unlink()
    checked = run("check", output)
    assert checked.exit_code == 1
    assert "1 x missing file" in checked.stdout


def test_cli_commands_write_manifests(esc50, tmp_path):
    commands = [
        ("esc50", esc50, "--licenses", "CC0,CC-BY"),
        ("csv", esc50 / "esc50.csv", "--audio", esc50 / "audio", "--test-fold", "5"),
        ("folders", esc50, "--test-share", "0.2"),
        ("esc50", esc50, "--test-fold", "none"),
    ]
    for number, command in enumerate(commands):
        result = run(*command, "-o", tmp_path / f"{number}.csv")
        assert result.exit_code == 0, result.output
    merged = run("merge", tmp_path / "0.csv", "-o", tmp_path / "m.csv")
    assert merged.exit_code == 0, merged.output
    assert Manifest.load(tmp_path / "m.csv").sha256() == Manifest.load(tmp_path / "0.csv").sha256()
    assert [len(Manifest.load(tmp_path / f"{number}.csv")) for number in range(4)] == [4, 8, 8, 8]
    assert "test" not in Manifest.load(tmp_path / "3.csv").splits


def test_cli_errors_are_one_line(tmp_path):
    result = run("esc50", tmp_path, "-o", tmp_path / "x.csv")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {tmp_path}/esc50.csv: cannot be read")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize("command", sorted(main.commands))
def test_cli_help(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["csv", "set.csv", "-o", "set.csv"],
        ["noise", "manifest.csv", "--drop", "0.5", "-o", "manifest.csv"],
        ["negatives", "manifest.csv", "--count", "1", "-o", "."],
        ["pack", "manifest.csv", "-o", "."],
    ],
)
def test_a_table_that_is_read_is_not_replaced(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    audio(tmp_path / "a.wav")
    audio(tmp_path / "b.wav")
    table(tmp_path / "set.csv", "filename,label,note", [("a.wav", "x", "mine"), ("b.wav", "y", "")])
    plain_csv(tmp_path / "set.csv", Splitting()).save(tmp_path / "manifest.csv")
    before = (tmp_path / arguments[1]).read_bytes()
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert f"{arguments[1]} is read, and would be replaced; choose another --output" in result.output
    assert (tmp_path / arguments[1]).read_bytes() == before
