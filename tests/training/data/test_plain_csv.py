"""Plain CSV files: clips in several rows, incomplete splits, groups that share a file, ends in place of durations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from training.data.commands import main
from training.data.manifest.problems import ManifestError, OnError
from training.data.manifest.splits import NO_FOLD, Splitting, assign_parts
from training.data.manifest.table import Manifest
from training.data.readers.plain_csv import plain_csv

WHOLE = Splitting(validation_share=0)


def read(folder: Path, text: str, splitting: Splitting = WHOLE, on_error: OnError = "stop") -> Manifest:
    """The manifest of a table ``text``, checked as ``data check`` does."""
    (folder / "t.csv").write_text(text)
    manifest = plain_csv(folder / "t.csv", splitting, on_error=on_error, look=False)
    manifest.save(folder / "set.csv")
    return Manifest.load(folder / "set.csv")


CONFLICTS = {
    "split": ("path,labels,split\na.wav,x,train\na.wav,y,test\nb.wav,x,train\nb.wav,y,\n", WHOLE),
    "unknown split": ("path,labels,split\na.wav,x,dev\na.wav,y,test\nb.wav,x,train\nb.wav,y,\n", WHOLE),
    "fold": ("path,labels,fold\na.wav,x,1\na.wav,y,5\nb.wav,x,1\nb.wav,y,\n", Splitting("5", validation_share=0)),
}
PLACES = {"split": "file in two splits (a.wav in train and test)", "fold": "clip in two folds (a.wav in 1 and 5)"}


@pytest.mark.parametrize("column", CONFLICTS)
def test_rows_of_a_clip_in_two_splits_or_folds_keep_those_of_the_test(tmp_path: Path, column: str) -> None:
    text, splitting = CONFLICTS[column]
    with pytest.raises(ManifestError) as error:
        read(tmp_path, text, splitting)
    place = PLACES.get(column, "file in two splits (a.wav in dev and test)")
    assert f"t.csv: 1 x {place}. Correct these, or leave" in str(error.value)
    manifest = read(tmp_path, text, splitting, "skip")
    assert manifest.splits == ["test", "train"]
    assert manifest.labels == [(1,), (0, 1)]


def test_equal_times_are_of_one_clip_however_they_are_written(tmp_path: Path) -> None:
    rows = "a.wav,x,0,1", "a.wav,y,0.0,1.0", "a.wav,z,,1e0", "a.wav,x,0.5,1", "b.wav,x,0,", "b.wav,y,,"
    text = "\n".join(["path,labels,start,duration", *rows, ""])
    manifest = read(tmp_path, text)
    assert manifest.labels == [(0, 1, 2), (0,), (0, 1)]
    assert manifest.starts.tolist() == [0, 0.5, 0]


@pytest.mark.parametrize("fold", ["5", "none"])
def test_a_share_for_the_test_split_beside_a_fold_for_it_is_refused(tmp_path: Path, fold: str) -> None:
    for name in "abcdef":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16000), 16000)
    rows = "".join(f"{name}.wav,x,{5 if name == 'f' else 1}\n" for name in "abcdef")
    (tmp_path / "t.csv").write_text(f"path,labels,fold\n{rows}")
    arguments = ["csv", tmp_path / "t.csv", "--test-fold", fold, "--test-share", "0.5", "-o", tmp_path / "set.csv"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if fold == "none":
        assert result.exit_code == 0, result.output
        assert Manifest.load(tmp_path / "set.csv").splits.count("test") == 3
    else:
        assert result.exit_code == 2
        assert "--test-share 0.5 has no effect beside --test-fold 5, which is the test split" in result.output
        assert not (tmp_path / "set.csv").exists()


def test_a_share_for_the_test_split_beside_a_column_with_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has test clips in its column split; leave --test-share or the column out"):
        read(tmp_path, "path,labels,split\na.wav,x,train\nb.wav,x,test\n", Splitting(test_share=0.5))


def test_folds_that_pandas_wrote_as_fractions(tmp_path: Path) -> None:
    manifest = read(tmp_path, "path,labels,fold\na.wav,x,1.0\nb.wav,x,5.0\nc.wav,x,\n", Splitting("5"))
    assert manifest.splits.count("test") == 1


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"t\.csv: two columns 'labels'; remove or rename one"):
        read(tmp_path, "path,labels,labels\na.wav,x,y\n")


@pytest.mark.parametrize(
    ("text", "splitting", "message"),
    [
        ("path,labels,group\na.wav,x,g\na.wav,x,h\nb.wav,x,g\n", WHOLE, r"1 x clip in two groups \(a.wav in g and h\)"),
        (
            "path,labels,fold\na.wav,x,1\na.wav,x,2\nb.wav,x,5\n",
            Splitting("5"),
            r"clip in two folds \(a.wav in 1 and 2",
        ),
    ],
)
def test_clips_in_two_groups_or_folds_are_left_out(
    tmp_path: Path, text: str, splitting: Splitting, message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, text, splitting)
    assert [Path(path).name for path in read(tmp_path, text, splitting, "skip").paths] == ["b.wav"]
    with pytest.raises(ManifestError, match="no clip remains: 1 x clip in two"):
        read(tmp_path, "".join(text.splitlines(True)[:3]), splitting, "skip")


def test_rows_of_a_clip_complete_each_other(tmp_path: Path) -> None:
    text = "path,labels,split,group,fold\na.wav,x,,,2\na.wav,y,test,,1\na.wav,x,,g,\n"
    for splitting in (WHOLE, Splitting(NO_FOLD, validation_share=0)):  # neither looks at the folds
        manifest = read(tmp_path, text, splitting)
        assert (manifest.splits, manifest.groups, manifest.labels) == (["test"], ["g"], [(0, 1)])


def test_a_column_without_a_name_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, ",path,labels\n0,a.wav,x\n1,b.wav,x\n").groups == ["", ""]


@pytest.mark.parametrize(
    ("header", "rows", "splits"),
    [
        ("path,labels,group,split", ["a.wav,x,tape,test", "b.wav,x,tape,", "c.wav,x,,"], ["test", "test", "train"]),
        ("path,labels,start,duration,split", ["a.wav,x,1,1,", "a.wav,x,0,1,test"], ["test", "test"]),
        (
            "path,labels,start,duration,group,split",  # a.wav links g with h, b.wav links h with i
            ["c.wav,x,0,1,i,", "b.wav,x,1,1,i,", "b.wav,x,0,1,h,", "a.wav,x,1,1,h,", "a.wav,x,0,1,g,validation"],
            ["validation"] * 5,
        ),
    ],
)
def test_clips_without_a_split_get_that_of_their_group_or_file(
    tmp_path: Path, header: str, rows: list[str], splits: list[str]
) -> None:
    assert read(tmp_path, "\n".join([header, *rows, ""])).splits == splits


def test_groups_between_clips_of_two_splits_are_a_fault(tmp_path: Path) -> None:
    rows = ["a.wav,x,0,1,g,test", "a.wav,x,1,1,h,", "b.wav,x,0,1,h,train"]
    text = "\n".join(["path,labels,start,duration,group,split", *rows, ""])
    with pytest.raises(ManifestError, match=r"group that crosses splits \(h in train and test\)"):
        read(tmp_path, text)
    assert read(tmp_path, text, on_error="skip").splits == ["test", "test"]


def segments() -> str:
    """Ten files of three segments, each with a group of its own; the last of a file shares it with the next file."""
    groups = [
        (file, start, f"g{file}-{start}" if start < 2 else f"h{file // 2}") for file in range(10) for start in (0, 1, 2)
    ]
    rows = [f"{file}.wav,{'xy'[file % 4 > 1]},{start},1,{group}\n" for file, start, group in groups]
    return "path,labels,start,duration,group\n" + "".join(rows)


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_share_a_file_are_held_out_together(tmp_path: Path, seed: int) -> None:
    manifest = read(tmp_path, segments(), Splitting(None, 0.3, 0.3, seed))
    assert set(manifest.splits) == {"train", "validation", "test"}
    lines = segments().splitlines(True)
    other = read(tmp_path, "".join([lines[0], *lines[:0:-1]]), Splitting(None, 0.3, 0.3, seed))
    assert list(other.splits)[::-1] == list(manifest.splits)  # whatever the order of the rows


def test_groups_that_share_a_file_are_in_one_part(tmp_path: Path) -> None:
    manifest = read(tmp_path, segments())
    parts = assign_parts(manifest, 3)
    assert set(parts) == {0, 1, 2}
    for column in (manifest.paths, manifest.groups):
        assert len(set(zip(column, parts, strict=True))) == len(column.distinct())


@pytest.mark.parametrize("name", ["end", "offset", "stop", "end_s"])
def test_an_end_is_read_in_place_of_a_duration(tmp_path: Path, name: str) -> None:
    text = f"path,labels,onset,duration,{name}\na.wav,x,0.1,,0.3\na.wav,x,,,2\na.wav,y,0,3,\na.wav,y,1,,\n"
    manifest = read(tmp_path, text)
    np.testing.assert_array_equal(manifest.starts, [0.1, 0, 0, 1])
    np.testing.assert_array_equal(manifest.durations, [0.2, 2, 3, np.nan])
    merged = read(tmp_path, f"path,labels,start,duration,{name}\na.wav,x,1,,3\na.wav,y,1,2,3\n")
    assert merged.labels == [(0, 1)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,,1", r"1 x end that is not after the start \(start '2', offset '1' of a.wav\)"),
        ("2,,2", "end that is not after the start"),
        ("2,1,4", r"duration that contradicts the end \(duration '1', start '2', offset '4' of a.wav\)"),
        ("2,,soon", r"bad number \(start '2', offset 'soon' of a.wav\)"),
        ("x,,2", "bad number"),
        ("0,,inf", "bad number"),
        ("0,,nan", "bad number"),
        ("-1,,2", "bad number"),
    ],
)
def test_faulty_ends(tmp_path: Path, row: str, message: str) -> None:
    text = f"path,labels,onset,duration,offset\na.wav,x,{row}\nb.wav,x,0,,1\n"
    with pytest.raises(ManifestError, match=message):
        read(tmp_path, text)
    assert len(read(tmp_path, text, on_error="skip")) == 1


def test_rows_left_out_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "path,labels,group,onset,offset\na.wav,x,,2,1\nb.wav,x,g,,\nb.wav,x,h,,\nc.wav,x,,,\n"
    )
    arguments = ["csv", str(tmp_path / "t.csv"), "-o", str(tmp_path / "o.csv")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "1 x clip in two groups (b.wav in g and h); 1 x end that is not after the start" in result.stderr
    skipped = plain_csv(tmp_path / "t.csv", WHOLE, on_error="skip", look=False)
    assert skipped.dropped.counts == {"end that is not after the start": 1, "clip in two groups": 1}


def test_clips_beyond_the_end_of_their_file_are_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(5 * 16000), 16000)
    rows = "a.wav,x,4,3", "a.wav,x,5,", "a.wav,x,0,5.05", "a.wav,x,1,4", "a.wav,x,4,"
    (tmp_path / "t.csv").write_text("\n".join(["path,labels,start,duration", *rows, ""]))
    with pytest.raises(ManifestError) as error:
        plain_csv(tmp_path / "t.csv", WHOLE)
    path = tmp_path / "a.wav"
    beyond = f"1 x clip beyond the end of its file ({path} of 5 s: start 5)"
    after = f"1 x clip that ends after its file ({path} of 5 s: start 4, duration 3)"
    assert str(error.value).startswith(f"{tmp_path / 't.csv'}: {beyond}; {after}. Correct these")
    assert plain_csv(tmp_path / "t.csv", WHOLE, on_error="skip").starts.tolist() == [0, 1, 4]
    plain_csv(tmp_path / "t.csv", WHOLE, look=False).save(tmp_path / "set.csv")
    checked = CliRunner().invoke(main, ["check", str(tmp_path / "set.csv")])
    assert checked.exit_code == 1
    assert beyond in checked.output
    assert after in checked.output
