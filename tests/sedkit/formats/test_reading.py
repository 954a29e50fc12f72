"""Reading of events and labels: what sedkit writes, and what other programs make of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.errors import AnnotationError
from sedkit.formats import FORMATS
from sedkit.formats.reading import read_annotations, read_events
from sedkit.results import Event, Tag, Tagging
from tests.sedkit.formats.results import BABIES, BABY, DOG, MINE, RECORDED_AT, tagging, timeline, write

UNREADABLE = {"text", "srt", "vtt", "dcase-scores", "html", "png", "svg", "pdf"}
READABLE = [name for name, writer in FORMATS.items() if name not in UNREADABLE and "events" in writer.kinds]
NAMELESS = {"audacity", "textgrid"}  # formats without the name of the recording
EVENTS = DOG, BABIES, MINE
ODD = [
    "=1+1.wav",
    "-.wav",
    'two "quotes".wav',
    "'apostrophe.wav",
    "tab\there.wav",
    "line\nend.wav",
    "carriage\rreturn.wav",
    "both\r\nends.wav",
    "a,b;c.wav",
    "50% & <more>.wav",
    "ünïcode 声.wav",
    " space.wav",
    os.fsdecode(b"caf\xe9.wav"),
]


def path_for(folder: Path, name: str, stem: str = "night") -> Path:
    return folder / (stem + (FORMATS[name].suffixes or (".out",))[0])


@pytest.mark.parametrize("name", READABLE)
def test_events_come_back(name: str, tmp_path: Path):
    file = str(tmp_path / "night.wav")
    path = write(path_for(tmp_path, name), name, timeline(file, *EVENTS))
    (recording,) = read_annotations(path)
    assert [(e.onset, e.offset, e.label) for e in recording.events] == [(e.onset, e.offset, e.label) for e in EVENTS]
    if name in {"json", "csv", "tsv", "parquet", "arrow"}:
        assert recording.events == EVENTS
    expected = {"dcase": "night.wav"}.get(name, str(tmp_path / "night") if name in NAMELESS else file)
    assert recording.file == expected
    assert recording.duration in (None, 5.0)


@pytest.mark.parametrize("file", ODD)
@pytest.mark.parametrize("name", [name for name in READABLE if name not in NAMELESS])
def test_odd_names_come_back(name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    ((found, event),) = read_events(write(path_for(tmp_path, name), name, timeline(file, DOG)))
    expected = os.path.abspath(file) if name in {"raven", "elan", "kaleidoscope"} else file
    if name in {"parquet", "arrow"}:
        expected = file.encode("utf-8", "backslashreplace").decode()
    assert found == expected
    assert event.label == "Dog"


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in {"html", "png", "svg", "pdf"}])
def test_odd_names_and_classes_are_written(name: str, tmp_path: Path):
    events = [Event(0.0, 1.0, label, None, 0.5) for label in ('"quoted"', "tab\there", "a <b> & c", "=1", "x\x01y")]
    for number, file in enumerate(ODD):
        path = write(path_for(tmp_path, name, f"odd{number}"), name, timeline(file, *events))
        if name not in UNREADABLE:
            assert len(read_events(path)) == len(events)
        else:
            assert path.stat().st_size


@pytest.mark.parametrize("name", READABLE)
def test_empty_results_are_valid_files(name: str, tmp_path: Path):
    path = write(path_for(tmp_path, name), name, timeline("night.wav"))
    assert [recording for recording in read_annotations(path) if recording.events] == []
    nothing = write(path_for(tmp_path, name, "nothing"), name)
    if "events" not in FORMATS[name].single:
        assert read_annotations(nothing) == []


def test_recordings_without_events_are_there_where_the_format_says_so(tmp_path: Path):
    for name in ("json", "label-studio", "jams", "elan"):
        (recording,) = read_annotations(write(path_for(tmp_path, name), name, timeline("night.wav")))
        assert os.path.basename(recording.file) == "night.wav"


@pytest.mark.parametrize("name", ["json", "csv", "tsv", "parquet", "arrow", "jams", "label-studio"])
def test_tags_come_back(name: str, tmp_path: Path):
    tags = Tag("Dog", "/m/0bt9lr", 0.9), Tag(BABY, "/t/dd00002", 0.25)
    (recording,) = read_annotations(write(path_for(tmp_path, name), name, tagging("night.wav", *tags)))
    assert recording.file == "night.wav"
    assert [tag.label for tag in recording.tags] == ["Dog", BABY]
    assert not recording.events


def test_escaped_formulas_come_back(tmp_path: Path):
    path = write(tmp_path / "a.csv", "csv", timeline("=HYPERLINK(1).wav", DOG), escape_formulas=True)
    assert path.read_text().splitlines()[1].startswith("'=HYPERLINK")
    assert read_events(path) == [("=HYPERLINK(1).wav", DOG)]
    event = Event(0.0, 1.0, "=1+1", "-mine", 0.5)
    path = write(tmp_path / "b.csv", "csv", timeline("a.wav", event), escape_formulas=True)
    assert read_events(path) == [("a.wav", event)]


def read(tmp_path: Path, name: str, text: str) -> list[tuple[str, float, float, str, float]]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return [(file, e.onset, e.offset, e.label, e.score) for file, e in read_events(tmp_path / name)]


def test_table_saved_by_raven(tmp_path: Path):
    table = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"
        "1\tWaveform 1\t1\t0.5\t1.25\t0.0\t8000.0\tEATO\n"
        "1\tSpectrogram 1\t1\t0.5\t1.25\t0.0\t8000.0\tEATO\n"
        "2\tSpectrogram 1\t1\t2.0\t3.0\t100.0\t900.0\tBarred owl\n"
    )
    stem = str(tmp_path / "a")
    assert read(tmp_path, "a.Table.1.selections.txt", table)[0] == (stem, 0.5, 1.25, "EATO", 1.0)
    assert read(tmp_path, "a.selections.txt", table) == [
        (stem, 0.5, 1.25, "EATO", 1.0),
        (stem, 2.0, 3.0, "Barred owl", 1.0),
    ]


def test_recording_of_a_table_saved_by_raven(tmp_path: Path):
    table = "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\n1\t0.5\t1.25\tEATO\n"
    (tmp_path / "field.WAV").touch()
    assert read(tmp_path, "field.Table.1.selections.txt", table)[0][0] == str(tmp_path / "field.WAV")
    assert read(tmp_path, "x.wav.Table.2.selections.txt", table)[0][0] == str(tmp_path / "x.wav")
    (tmp_path / "field.Table.1.wav").touch()
    assert read(tmp_path, "field.Table.1.selections.txt", table)[0][0] == str(tmp_path / "field.Table.1.wav")


def test_labels_belong_to_recordings_of_every_ending_that_counts(tmp_path: Path):
    for number, ending in enumerate(AUDIO_SUFFIXES):
        (tmp_path / f"a{number}{ending}").touch()
        assert read(tmp_path, f"a{number}.txt", "1\t2\tDog\n")[0][0] == str(tmp_path / f"a{number}{ending}")
        assert read(tmp_path, f"b{ending}.txt", "1\t2\tDog\n")[0][0] == str(tmp_path / f"b{ending}")
        with pytest.raises(AnnotationError, match="is a recording; give a file of events"):
            read_annotations(tmp_path / f"a{number}{ending}")


def test_records_about_one_recording_are_one(tmp_path: Path):
    record = '{"file": "a.wav", "events": [{"onset": %d, "offset": 3, "label": "Dog", "score": 0.5}]}\n'
    tags = '{"file": "a.wav", "duration": 5, "recorded_at": "2024-05-01T05:30:00Z", "tags": [{"label": "Cat"}]}\n'
    (tmp_path / "a.jsonl").write_text(record % 1 + '{"file": "b.wav", "events": []}\n' + tags + record % 2 + record % 1)
    first, second = read_annotations(tmp_path / "a.jsonl")
    assert (first.file, first.duration, second.file) == ("a.wav", 5, "b.wav")
    assert first.recorded_at == RECORDED_AT
    assert [event.onset for event in first.events] == [1, 2]
    assert [tag.label for tag in first.tags] == ["Cat"]


@pytest.mark.parametrize("score", ["1.5", "-0.1", "85"])
def test_a_score_beyond_0_and_1_is_refused(tmp_path: Path, score: str):
    text = "file,onset,offset,label,score\na.wav,1,2,Dog,0.5\na.wav,3,4,Dog,%s\n"
    with pytest.raises(AnnotationError, match=re.escape(f"x.csv:3: score is '{score}', and scores are 0 to 1; ")):
        read(tmp_path, "x.csv", text % score)
    with pytest.raises(AnnotationError, match=r"x.json, record 1: score is .*, and scores are 0 to 1; correct it"):
        read(tmp_path, "x.json", f'{{"file": "a.wav", "tags": [{{"label": "Dog", "score": {score}}}]}}')


def test_a_distance_of_kaleidoscope_beyond_1_is_a_score_of_0(tmp_path: Path):
    text = "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST,MANUAL ID\n/a,b,c.wav,1,2,Dog,1.25,\n"
    assert [found[4] for found in read(tmp_path, "k.csv", text)] == [0.0]


def test_labels_saved_by_audacity(tmp_path: Path):
    (tmp_path / "a.wav").touch()
    text = "0.500000\t1.250000\tDog\n\\\t100.0\t900.0\n2,0\t2,0\tClick\n"
    file = str(tmp_path / "a.wav")
    assert read(tmp_path, "a.txt", text) == [(file, 0.5, 1.25, "Dog", 1.0), (file, 2.0, 2.0, "Click", 1.0)]


def test_quotation_marks_in_labels_of_audacity(tmp_path: Path):
    text = '1.0\t2.0\t"Hello\n3.0\t4.0\tDog\n'
    assert [found[3] for found in read(tmp_path, "a.txt", text)] == ['"Hello', "Dog"]


RAVEN_FILES = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tAnnotation\n"


def test_table_of_raven_whose_times_may_count_from_the_first_recording(tmp_path: Path):
    path = tmp_path / "both.txt"
    path.write_text(RAVEN_FILES + "1\t59\t60\ta.wav\tDog\n2\t70\t71\tb.wav\tDog\n")
    with pytest.raises(AnnotationError, match=r"both.txt: names several recordings but has no File Offset \(s\)"):
        read_events(path)
    for begin in ("3", "59"):  # between those of the other recording, or the same, so that each has times of its own
        path.write_text(RAVEN_FILES + f"1\t1\t2\ta.wav\tDog\n2\t59\t60\ta.wav\tDog\n3\t{begin}\t71\tb.wav\tDog\n")
        assert [(file, event.onset) for file, event in read_events(path)] == [
            ("a.wav", 1.0),
            ("a.wav", 59.0),
            ("b.wav", float(begin)),
        ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_table_in_utf_16(encoding: str, tmp_path: Path):
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "a.txt").write_bytes((mark + "0.5\t1.5\tVögel\r\n").encode(encoding))
    assert read_events(tmp_path / "a.txt") == [(str(tmp_path / "a"), Event(0.5, 1.5, "Vögel", None, 1.0))]


def test_table_of_raven_in_which_nothing_is_marked(tmp_path: Path):
    (tmp_path / "a.selections.txt").write_text("Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\n")
    (recording,) = read_annotations(tmp_path / "a.selections.txt")
    assert (recording.file, recording.events) == (str(tmp_path / "a"), ())


def test_tiers_of_one_name_in_praat(tmp_path: Path):
    (tmp_path / "a.TextGrid").write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n5\n<exists>\n2\n'
        '"IntervalTier"\n"calls"\n0\n5\n1\n0\n5\n"Dog"\n'
        '"IntervalTier"\n"calls"\n0\n5\n1\n0\n5\n"Cat"\n'
    )
    assert [event.label for _, event in read_events(tmp_path / "a.TextGrid")] == ["Cat", "Dog"]


def test_tables_of_references(tmp_path: Path):
    dcase = "filename\tonset\toffset\tevent_label\nY1.wav\t0.5\t1.0\tDog\nY2.wav\t\t\t\n"
    assert read(tmp_path, "dcase.tsv", dcase) == [("Y1.wav", 0.5, 1.0, "Dog", 1.0)]
    assert [recording.file for recording in read_annotations(tmp_path / "dcase.tsv")] == ["Y1.wav", "Y2.wav"]
    (tmp_path / "weak.tsv").write_text("filename\tevent_labels\nY1.wav\tDog,Speech\n")
    (weak,) = read_annotations(tmp_path / "weak.tsv")
    assert [tag.label for tag in weak.tags] == ["Dog", "Speech"]
    strong = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\nb0RFKhbpFJA_30000\t0.0\t1.5\t/m/0bt9lr\n"
    assert read(tmp_path, "strong.tsv", strong) == [("b0RFKhbpFJA_30000", 0.0, 1.5, "/m/0bt9lr", 1.0)]
    (tmp_path / "eval_segments.csv").write_text(
        "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=1\n"
        '# YTID, start_seconds, end_seconds, positive_labels\n-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"\n'
    )
    (segment,) = read_annotations(tmp_path / "eval_segments.csv")
    assert (segment.file, [tag.mid for tag in segment.tags]) == ("-0RWZT-miFs", ["/m/03v3yw", "/m/0k4j"])


def test_tables_from_a_spreadsheet(tmp_path: Path):
    text = "\ufeffFile;Onset;Offset;Label\na.wav;0,5;1,25;Dog\n\n"
    assert read(tmp_path, "a.csv", text) == [("a.wav", 0.5, 1.25, "Dog", 1.0)]


def test_class_that_a_person_set_goes_before_the_guess_in_kaleidoscope(tmp_path: Path):
    text = "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,TOP1DIST,MANUAL ID\n/a,b,c.wav,1,2,Dog,0.25,Fox\n"
    assert read(tmp_path, "k.csv", text) == [("/a/b/c.wav", 1.0, 3.0, "Fox", 1.0)]


def test_annotations_of_a_person_go_before_predictions_in_label_studio(tmp_path: Path):
    region = '{"type": "labels", "value": {"start": 1, "end": 2, "labels": ["%s"]}}'
    task = '[{"data": {"file": "a.wav"}, "predictions": [{"result": [%s]}], "annotations": [{"result": [%s]}]}]'
    text = task % (region % "Dog", region % "Fox")
    assert read(tmp_path, "a.json", text) == [("a.wav", 1.0, 2.0, "Fox", 1.0)]


def test_folder_of_labels(tmp_path: Path):
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "one.labels.txt", "audacity", timeline("one.wav", DOG))
    write(tmp_path / "two.TextGrid", "textgrid", timeline("two.wav", MINE))
    (tmp_path / "notes.md").write_text("no labels")
    assert [(Path(file).name, event.label) for file, event in read_events(tmp_path)] == [
        ("one", "Dog"),
        ("two", "Mine"),
    ]
    write(tmp_path / "b" / "one.audacity.txt", "audacity", timeline("one.wav", MINE))
    assert [recording.events[-1].label for recording in read_annotations(tmp_path)] == ["Mine", "Mine"]


@pytest.mark.parametrize("other", ["json", "audacity", "parquet"])
def test_a_folder_with_the_same_in_two_formats(other: str, tmp_path: Path):
    """The events of both would count."""
    write(tmp_path / "events.csv", "csv", timeline("one.wav", DOG))
    second = path_for(tmp_path, other, "one")
    write(second, other, timeline("one.wav", DOG))
    with pytest.raises(AnnotationError) as caught:
        read_annotations(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "events.csv") in message
    assert str(second) in message
    assert "keep one format in the folder" in message


def test_a_folder_of_names_that_end_in_a_time(tmp_path: Path):
    write(tmp_path / "1 05.30.00.labels.txt", "audacity", timeline("x.wav", DOG))
    write(tmp_path / "1 05.30.01.TextGrid", "textgrid", timeline("x.wav", DOG))
    assert [Path(each.file).name for each in read_annotations(tmp_path)] == ["1 05.30.00", "1 05.30.01"]


def test_a_folder_with_recordings_in_different_formats(tmp_path: Path):
    write(tmp_path / "a.csv", "csv", timeline("a/one.wav", DOG))
    write(tmp_path / "b.json", "json", timeline("b/one.wav", DOG))
    write(tmp_path / "tags.json", "json", tagging("a/one.wav", Tag("Dog", None, 1.0)))
    found = read_annotations(tmp_path)
    assert [(each.file, len(each.events), len(each.tags)) for each in found] == [
        ("a/one.wav", 1, 1),
        ("b/one.wav", 1, 0),
    ]


@pytest.mark.parametrize("columns", [("start", "end"), ("begin", "stop"), ("start_s", "end_s"), ("onset", "end")])
def test_other_names_for_the_times_of_events(columns: tuple[str, str], tmp_path: Path):
    (tmp_path / "a.csv").write_text("file,{},{},label\na.wav,1.5,2.5,Dog\n".format(*columns))
    rows = {"file": ["a.wav"], columns[0]: [1.5], columns[1]: [2.5], "label": ["Dog"]}
    parquet.write_table(pa.table(rows), tmp_path / "a.parquet")
    for name in ("a.csv", "a.parquet"):
        assert read_events(tmp_path / name) == [("a.wav", Event(1.5, 2.5, "Dog", None, 1.0))]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,start,label\na.wav,1,Dog\n", "has no column for the end of events; name one of them offset"),
        ("a.csv", "file,end,label\na.wav,1,Dog\n", "has no column for the start of events; name one of them onset"),
        ("a.csv", "file,onset,offset,label\na.wav,x,1,Dog\n", "a.csv:2: onset is 'x', which is no number"),
        ("a.csv", "file,onset,offset,label\na.wav,2,1,Dog\n", "a.csv:2: an event cannot last from 2.0 s to 1.0 s"),
        ("a.csv", "file,onset,offset,label\na.wav,nan,1,Dog\n", "onset is 'nan'"),
        ("a.csv", "file,onset,offset,label\na.wav,1,2,\n", "a.csv:2: has no class"),
        ("a.csv", "file,onset,offset,label\na.wav,1\n", "offset is ''"),
        ("a.csv", "name,age\nx,1\n", "not a table of events that sedkit knows; its columns are name, age"),
        ("a.csv", "filename,onset,offset,label\na.wav,1,2,Dog\n", "its columns are filename, onset, offset, label"),
        ("a.csv", "file,onset,offset,label\n,1,2,Dog\n", "a.csv:2: has no recording; name one"),
        ("a.tsv", "filename\tonset\toffset\tevent_label\n\t1\t2\tDog\n", "a.tsv:2: has no recording; name one"),
        ("a.txt", "1.0\t2.0\n", "a.txt:1: has no class"),
        ("a.txt", "Begin Time (s)\tEnd Time (s)\n1\t2\n", "has no column for the class"),
        ("a.json", '{"file": "a.wav", "events": [{"onset": 1}]}', "record 1: not the JSON of sedkit"),
        ("a.json", "[1]", "not the JSON of sedkit"),
        ("a.json", '{"file": [1], "events": []}', "the name of the recording is not text"),
        ("a.json", "{\n", "a.json:1: not JSON"),
        ("a.json", '{"file": "a.wav", "duration": -1, "events": []}', "record 1: a recording cannot last -1.0 s"),
        ("a.json", '{"file": "a.wav", "duration": "x", "events": []}', "duration is 'x', which is no number"),
        ("a.jams", '{"file_metadata": {}}', "not the JSON of sedkit, JAMS"),
        ("a.eaf", "<xml", "a.eaf: not readable"),
        ("a.TextGrid", "nonsense", "a.TextGrid: not readable"),
        ("a.rttm", "SPEAKER a 1 2\n", "a.rttm:1: has 4 fields"),
        ("a.parquet", "nonsense", "a.parquet: not readable"),
        ("a.arrow", "nonsense", "a.arrow: not readable"),
        ("a.srt", "", "captions have no classes"),
        ("a.bin", "RIFF\0\0WAVE", "not text; give a table"),
        ("a.wav", "", "is a recording; give a file of events"),
        ("a.csv", 'file,label\na.wav,"' + 140_000 * "x", "close the quotation mark that begins it"),
    ],
)
def test_what_cannot_be_read_is_named_on_one_line(name: str, text: str, message: str, tmp_path: Path):
    (tmp_path / name).write_text(text)
    with pytest.raises(AnnotationError) as caught:
        read_annotations(tmp_path / name)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parquet_without_the_name_of_a_recording(tmp_path: Path):
    rows = {"file": ["a.wav", None], "onset": [1.0, 2.0], "offset": [2.0, 3.0], "label": ["Dog", "Cat"]}
    parquet.write_table(pa.table(rows), tmp_path / "a.parquet")
    with pytest.raises(AnnotationError, match=r"a.parquet, row 2: has no recording; name one, or delete the line"):
        read_annotations(tmp_path / "a.parquet")


def test_missing_files_and_folders_without_labels(tmp_path: Path):
    for name in ("a.csv", "a.TextGrid", "a.eaf", "a.parquet", "a.arrow", "a.json"):
        with pytest.raises(AnnotationError, match=f"{name}: does not exist"):
            read_annotations(tmp_path / name)
    with pytest.raises(AnnotationError, match="holds no file with one of the endings"):
        read_annotations(tmp_path)


def test_results_of_tag_are_no_events(tmp_path: Path):
    assert isinstance(tagging(), Tagging)
    assert read_events(write(tmp_path / "a.csv", "csv", tagging("a.wav", Tag("Dog", None, 1.0)))) == []
