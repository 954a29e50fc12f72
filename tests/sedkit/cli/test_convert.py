"""``sedkit convert``: from one format to another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from sedkit.formats import FORMATS

EVENTS = """file,onset,offset,label,mid,score
a/dog.wav,0.25,1.5,Dog,/m/0bt9lr,0.9
a/dog.wav,1.0,1.75,"Baby cry, infant cry",/t/dd00002,0.5
b/dog.wav,0.5,0.75,Dog,/m/0bt9lr,0.75
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").write_text(EVENTS)
    (tmp_path / "a").mkdir()
    soundfile.write(tmp_path / "a" / "dog.wav", np.zeros(24000), 8000)
    return tmp_path


def convert(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["convert", *arguments])


def test_file_to_file(folder: Path):
    assert convert("events.csv", "events.parquet").exit_code == 0
    assert convert("events.parquet", "again.csv").exit_code == 0
    assert (folder / "again.csv").read_text() == EVENTS


@pytest.mark.parametrize("name", ["csv", "tsv", "raven", "dcase", "kaleidoscope"])
def test_a_table_without_events_has_its_header_on_standard_output_too(name: str, folder: Path):
    (folder / "none.csv").write_text(EVENTS.splitlines()[0] + "\n")
    assert convert("none.csv", "none.out", "-f", name).exit_code == 0
    result = convert("none.csv", "-", "-f", name)
    assert result.exit_code == 0
    assert result.output == (folder / "none.out").read_text() != ""


@pytest.mark.parametrize("name", ["csv", "tsv", "parquet", "arrow"])
def test_a_table_of_tags_without_rows_stays_one(name: str, folder: Path):
    (folder / "tags").mkdir()
    (folder / "tags" / "none.csv").write_text("file,label,mid,score\n")
    assert convert("tags", f"none.{name}").exit_code == 0
    assert convert(f"none.{name}", "again.csv").exit_code == 0
    assert (folder / "again.csv").read_text() == "file,label,mid,score\n"


def test_file_to_folder_of_labels_and_back(folder: Path):
    assert convert("events.csv", "labels/", "--format", "audacity").exit_code == 0
    assert sorted(path.relative_to(folder / "labels").as_posix() for path in folder.rglob("*.labels.txt")) == [
        "a/dog.labels.txt",
        "b/dog.labels.txt",
    ]
    result = convert("labels", "-", "--format", "tsv")
    assert result.exit_code == 0
    assert [line.split("\t")[1:4] for line in result.output.splitlines()[1:]] == [
        ["0.25", "1.5", "Dog"],
        ["1.0", "1.75", "Baby cry, infant cry"],
        ["0.5", "0.75", "Dog"],
    ]


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("dcase-scores", "png", "svg", "pdf")])
def test_every_format_takes_events_that_were_read(name: str, folder: Path):
    result = convert("events.csv", "out/", "-f", name)
    assert result.exit_code == 0, result.output
    assert any(path.stat().st_size for path in (folder / "out").rglob("*.*"))


def test_table_of_all_recordings_in_a_folder(folder: Path):
    assert convert("events.csv", "out/", "-f", "raven").exit_code == 0
    rows = [line.split("\t") for line in (folder / "out" / "events.selections.txt").read_text().splitlines()[1:]]
    assert [row[3] for row in rows] == ["0.250", "1.000", "3.500"]  # a/dog.wav has 3 s
    assert rows[0][6] == "4000.0"


def test_lengths_are_those_of_the_recordings_that_are_there(folder: Path):
    result = convert("events.csv", "-", "-f", "json")
    assert "the length of 1 of 2 recordings is unknown" in result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["duration"] for record in records] == [3.0, 0.75]


def test_choice_of_classes(folder: Path):
    assert convert("events.csv", "dogs.csv", "--classes", "dog").exit_code == 0
    assert (folder / "dogs.csv").read_text().count("Dog") == 2
    assert convert("events.csv", "rest.csv", "--skip", "/m/0bt9lr,Baby cry, infant cry").exit_code == 0
    assert len((folder / "rest.csv").read_text().splitlines()) == 1
    result = convert("events.csv", "x.csv", "--classes", "Dogs")
    assert result.exit_code == 2
    assert "no event has the class 'Dogs'; classes that events have: Dog" in result.stderr


def test_a_class_to_exclude_may_be_absent(folder: Path):
    result = convert("events.csv", "-", "-f", "csv", "--skip", "Dogs,Music,dog")
    assert result.exit_code == 0
    assert "no event has the class 'Dogs', 'Music'; classes that events have: Dog" in result.stderr
    assert [line.split(",")[3] for line in result.stdout.splitlines()[1:]] == ['"Baby cry']


def test_names_in_any_case_and_mids_stand_for_all_their_classes(folder: Path):
    (folder / "cases.csv").write_text(
        "file,onset,offset,label,mid\na.wav,0,1,dog,\na.wav,1,2,Dog,/m/0bt9lr\na.wav,2,3,Hund,/m/0bt9lr\na.wav,3,4,Cat,\n"
    )
    for option, names, expected in [
        ("--classes", "DOG", ["dog", "Dog"]),
        ("--classes", "/m/0bt9lr", ["dog", "Dog", "Hund"]),
        ("--exclude", "Dog", ["Hund", "Cat"]),
    ]:
        lines = convert("cases.csv", "-", "-f", "csv", option, names).stdout.splitlines()[1:]
        assert [line.split(",")[3] for line in lines] == expected


def test_captions_between_dialogue(folder: Path):
    (folder / "dialogue.srt").write_text("1\n00:00:01,250 --> 00:00:03,000\nHello.\n")
    (folder / "one.csv").write_text("".join(EVENTS.splitlines(keepends=True)[:2]))
    arguments = ["one.csv", "film.srt", "--merge", "dialogue.srt", "--caption-style", "({})"]
    assert convert(*arguments).exit_code == 0
    assert (folder / "film.srt").read_text() == (
        "1\n00:00:00,250 --> 00:00:01,250\n(dog barks)\n\n2\n00:00:01,250 --> 00:00:03,000\nHello.\n\n"
    )


def test_times_in_utc(folder: Path):
    (folder / "a.csv").write_text("file,onset,offset,label\n20240501_073000.WAV,1,2,Dog\n")
    result = convert("a.csv", "-", "-f", "csv", "--absolute-time", "--timezone", "+02:00")
    assert result.output.splitlines()[1].endswith(",2024-05-01T05:30:01.000Z,2024-05-01T05:30:02.000Z")
    result = convert("a.csv", "-", "-f", "csv", "--absolute-time", "--start", "2024-05-01T05:30:00")
    assert "2024-05-01T05:30:01.000Z" in result.output
    result = convert("events.csv", "-", "-f", "csv", "--absolute-time")
    assert result.stderr == "sedkit: 2 of 2 recordings do not say when they began; --start says it of one\n"


@pytest.mark.parametrize("ending", ["json", "csv", "tsv", "parquet", "arrow"])
@pytest.mark.parametrize("kind", ["events", "tags"])
def test_times_in_utc_come_from_the_input_where_nothing_else_tells(kind: str, ending: str, folder: Path):
    (folder / "none.csv").write_text("file,onset,offset,label\nnone.wav,1.25,2,Dog\n")
    (folder / "tags.csv").write_text("file,label\nnone.wav,Dog\n")
    source = "none.csv" if kind == "events" else "tags.csv"
    start = "2024-05-01T05:30:00+02:00"
    assert convert(source, f"x.{ending}", "--absolute-time", "--start", start).exit_code == 0
    result = convert(f"x.{ending}", "-", "-f", "csv", "--absolute-time")
    assert result.stderr == ""
    row = dict(zip(*(line.split(",") for line in result.stdout.splitlines()), strict=True))
    assert row["onset_utc"] == ("2024-05-01T03:30:01.250Z" if kind == "events" else "2024-05-01T03:30:00.000Z")
    later = convert(f"x.{ending}", "-", "-f", "json", "--absolute-time", "--start", "2025-01-01T00:00:00").stdout
    assert json.loads(later)["recorded_at"] == "2025-01-01T00:00:00.000Z"


def test_times_that_are_none_do_not_matter(folder: Path):
    (folder / "odd.csv").write_text(
        "file,onset,offset,label,onset_utc\na.wav,1,2,Dog,1.5.2024\nb.wav,1,2,Dog,0001-01-01T00:00:00Z\n"
    )
    result = convert("odd.csv", "-", "-f", "csv", "--absolute-time")
    assert result.exit_code == 0
    assert "2 of 2 recordings do not say when they began" in result.stderr


def test_tags(folder: Path):
    (folder / "tags.tsv").write_text("file\tlabel\tmid\tscore\na.wav\tDog\t/m/0bt9lr\t0.9\n")
    assert convert("tags.tsv", "tags.json").exit_code == 0
    assert json.loads((folder / "tags.json").read_text())["tags"][0]["label"] == "Dog"
    assert "audacity holds events, not tags" in convert("tags.tsv", "a.labels.txt").stderr


def test_tags_of_silence_stay_tags(folder: Path):
    (folder / "silence.json").write_text('{"file": "s.wav", "duration": 5.0, "tags": []}')
    assert json.loads(convert("silence.json", "-", "--format", "json").stdout)["tags"] == []


def test_tags_of_some_recordings(folder: Path):
    """Others have none: in the file, or of the classes that are asked for."""
    (folder / "some.json").write_text(
        '{"file": "a.wav", "duration": 5, "tags": [{"label": "Dog", "mid": null, "score": 0.9}]}\n'
        '{"file": "silence.wav", "duration": 5, "tags": []}\n'
    )
    (folder / "other.tsv").write_text("file\tlabel\tmid\tscore\na.wav\tDog\t\t0.9\nb.wav\tCat\t\t0.8\n")
    (folder / "weak.tsv").write_text("filename\tevent_labels\na.wav\tDog\nb.wav\t\n")
    for source in ("some.json", "other.tsv", "weak.tsv"):
        result = convert(source, "-", "-f", "csv", "--classes", "Dog")
        assert (result.exit_code, result.stderr) == (0, "")
        head, *rows = result.stdout.splitlines()
        assert head == "file,label,mid,score"
        assert [row.split(",")[:2] for row in rows] == [["a.wav", "Dog"]]


def test_tags_beside_events_are_left_out_with_a_notice(folder: Path):
    (folder / "both.json").write_text(
        '{"file": "a.wav", "tags": [{"label": "Cat", "score": 0.9}]}\n'
        '{"file": "b.wav", "events": [{"onset": 0, "offset": 1, "label": "Dog", "score": 0.9}]}\n'
    )
    result = convert("both.json", "-", "-f", "csv")
    assert "both.json: has events and tags; the tags of 1 of 2 recordings are left out" in result.stderr
    assert result.stdout.splitlines()[1:] == ["b.wav,0.0,1.0,Dog,,0.9"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv", "a.json"], "none.csv: does not exist"),
        (["events.csv", "a.xyz"], "no format has the ending .xyz"),
        (["events.csv", "out/"], "choose with --format"),
        (["events.csv", "a.srt"], "holds one recording, and 2 are given"),
        (["events.csv", "none/a.json"], "create it first"),
        (["events.csv", "a.srt", "--merge", "events.csv"], "not readable as subtitles"),
        (["events.csv", "a.srt", "--caption-style", "x"], "has no {} for the sounds"),
        (["events.csv", "a.csv", "--start", "now"], "is no date and time"),
        (["events.csv", "a.csv", "--timezone", "Mars/Base"], "is no time zone"),
    ],
)
def test_what_does_not_work_is_named(arguments: list[str], message: str, folder: Path):
    result = convert(*arguments)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.stderr
