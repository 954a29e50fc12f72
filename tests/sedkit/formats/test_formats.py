"""The writers of sedkit.formats: what they write can be read back."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from sedkit.contract import Label
from sedkit.formats import FORMATS, format_of
from sedkit.formats.delimited import row_writer
from sedkit.formats.options import FormatOptions
from sedkit.formats.writers import Kind, Run
from sedkit.results import Event, Second, Tag, Tagging, Timeline

BABY = "Baby cry, infant cry"
TAGGING = Tagging(
    "a b.wav", 5.00049, (Tag("Dog", "/m/0bt9lr", 0.97314), Tag(BABY, "/t/dd00002", 0.1), Tag("Mine", None, 0))
)
SILENT = Tagging("silent.wav", 1.0, ())
TIMELINE = Timeline(
    "a b.wav",
    1.5,
    1.0,
    (Second(0.0, 1.0, (Tag(BABY, "/t/dd00002", 0.5),)), Second(1.0, 1.5, ())),
    (Event(0.0, 0.96, BABY, "/t/dd00002", 0.54321),),
    np.zeros((2, 1), np.float32),
    (Label(BABY, "/t/dd00002", 23),),
)


def written(name: str, kind: Kind, *results: Tagging | Timeline, bom: bool = False) -> str:
    stream = io.StringIO()
    writer = FORMATS[name](stream, Run(kind, [result.file for result in results], options=FormatOptions(bom=bom)))
    for result in results:
        writer.write(result)
    writer.finish()
    return stream.getvalue()


def test_json_of_tags():
    first, second = written("json", "tags", TAGGING, SILENT).splitlines()
    assert json.loads(first) == {
        "file": "a b.wav",
        "duration": 5.0,
        "tags": [
            {"label": "Dog", "mid": "/m/0bt9lr", "score": 0.9731},
            {"label": BABY, "mid": "/t/dd00002", "score": 0.1},
            {"label": "Mine", "mid": None, "score": 0},
        ],
    }
    assert json.loads(second) == {"file": "silent.wav", "duration": 1.0, "tags": []}


@pytest.mark.parametrize(("kind", "result"), [("tags", TAGGING), ("tags", SILENT), ("events", TIMELINE)])
def test_json_is_that_of_the_dictionary(kind, result):
    assert written("json", kind, result) == json.dumps(result.to_dict(), ensure_ascii=False) + "\n"


def test_json_of_a_timeline():
    (line,) = written("json", "events", TIMELINE).splitlines()
    tag = {"label": BABY, "mid": "/t/dd00002"}
    assert json.loads(line) == {
        "file": "a b.wav",
        "duration": 1.5,
        "resolution": 1.0,
        "seconds": [
            {"start": 0.0, "end": 1.0, "tags": [{**tag, "score": 0.5}]},
            {"start": 1.0, "end": 1.5, "tags": []},
        ],
        "events": [{"onset": 0.0, "offset": 0.96, **tag, "score": 0.5432}],
    }


def test_csv():
    assert written("csv", "tags", TAGGING, SILENT) == (
        "file,label,mid,score\n"
        "a b.wav,Dog,/m/0bt9lr,0.9731\n"
        'a b.wav,"Baby cry, infant cry",/t/dd00002,0.1\n'
        "a b.wav,Mine,,0\n"
    )
    assert written("csv", "events", TIMELINE) == (
        'file,onset,offset,label,mid,score\na b.wav,0.0,0.96,"Baby cry, infant cry",/t/dd00002,0.5432\n'
    )


def test_tsv():
    assert written("tsv", "events", TIMELINE) == (
        "file\tonset\toffset\tlabel\tmid\tscore\na b.wav\t0.0\t0.96\tBaby cry, infant cry\t/t/dd00002\t0.5432\n"
    )


@pytest.mark.parametrize("name", ["csv", "tsv"])
def test_byte_order_mark_comes_once_before_the_header(name: str):
    assert "bom" in FORMATS[name].takes
    assert written(name, "tags", TAGGING, SILENT, bom=True) == "\ufeff" + written(name, "tags", TAGGING, SILENT)


def test_only_tables_take_a_byte_order_mark():
    assert {name for name, writer in FORMATS.items() if "bom" in writer.takes} == {"csv", "tsv"}


@pytest.mark.parametrize(
    "file", ['odd "name".wav', "tab\there.wav", "line\nend.wav", "cr\rhere.wav", "a,b.wav", "ünïcode 声.wav", ""]
)
@pytest.mark.parametrize("name", ["csv", "tsv", "json"])
def test_unusual_file_names_round_trip(name: str, file: str):
    text = written(name, "tags", Tagging(file, 1.0, (Tag("Dog", None, 0.5),)))
    if name == "json":
        assert json.loads(text)["file"] == file
        return
    rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter={"csv": ",", "tsv": "\t"}[name]))
    assert [row["file"] for row in rows] == [file]


def test_rows_end_in_lf_and_quote_both_line_ends():
    stream = io.StringIO(newline="")
    rows = row_writer(stream)
    rows.writerow(["a b", 0.5, None, "x,y"])
    rows.writerows([["a\rb", "a\nb", 'say "a"', "\r\n"], [""]])
    assert stream.getvalue() == 'a b,0.5,,"x,y"\n"a\rb","a\nb","say ""a""","\r\n"\n""\n'


@pytest.mark.parametrize("name", ["csv", "tsv", "json", "text"])
def test_file_name_that_is_not_utf8(name: str):
    file = os.fsdecode(b"caf\xe9.wav")
    text = written(name, "tags", Tagging(file, 1.0, (Tag("Dog", None, 0.5),)))
    data = text.encode("utf-8", errors=FORMATS[name].errors)
    if name == "json":
        assert json.loads(data)["file"] == file
    else:
        assert {"text": b"caf?.wav"}.get(name, b"caf\xe9.wav") in data


def test_format_of():
    assert [format_of(x) for x in ("a.json", "b.JSONL", "c.csv", "d.tsv", "e.txt", "f")] == [
        "json",
        "json",
        "csv",
        "tsv",
        None,
        None,
    ]


def test_text_has_bars_for_one_recording_and_lines_for_several():
    one, several = written("text", "tags", TAGGING), written("text", "tags", TAGGING, SILENT)
    assert [line.split()[-1] for line in one.splitlines()] == ["s", "0.97", "0.10", "0.00"]
    assert [line.split()[0] for line in several.splitlines()] == ["a", "silent.wav"]


def test_text_of_a_recording_without_tags():
    assert written("text", "tags", SILENT).splitlines()[1] == "  nothing heard: no class scores high enough"
    assert "  nothing heard: " in written("text", "tags", TAGGING, SILENT).splitlines()[1]


def test_suffixes_of_every_format_are_documented():
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    for name, writer in FORMATS.items():
        (row,) = re.findall(rf"^\| `{name}` \|.*$", page, re.MULTILINE)
        assert tuple(re.findall(r"`(\.[\w.-]+)`", row)) == writer.suffixes
