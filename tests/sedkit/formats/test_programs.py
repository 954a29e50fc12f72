"""What is written for other programs, as independent readers of these formats read it."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest

from sedkit.errors import OutputError
from sedkit.install import version
from sedkit.results import Event, Tag
from tests.sedkit.formats.results import BABIES, BABY, DOG, MINE, RECORDED_AT, tagging, timeline, write

NIGHT = timeline("night.wav", DOG, BABIES, MINE, sample_rate=48000.0, recorded_at=RECORDED_AT)
SILENT = timeline("silent.wav")


def test_audacity_labels_in_crowsetta(tmp_path: Path):
    from crowsetta.formats.seq import AudSeq

    path = write(tmp_path / "night.txt", "audacity", NIGHT)
    sequence = AudSeq.from_file(path).to_seq()
    assert sequence.onsets_s.tolist() == [0.25, 1.0, 4.5]
    assert sequence.offsets_s.tolist() == [1.5, 4.125, 4.75]
    assert sequence.labels.tolist() == ["Dog", BABY, "Mine"]


def test_raven_table_in_crowsetta_and_pandas(tmp_path: Path):
    import pandas
    from crowsetta.formats.bbox import Raven

    path = write(tmp_path / "night.selections.txt", "raven", timeline("b/a.wav", MINE), SILENT, NIGHT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about crowsetta
        boxes = Raven.from_file(path).to_bbox()
    assert [(box.onset, box.offset, box.low_freq, box.high_freq, box.label) for box in boxes] == [
        (4.5, 4.75, 0.0, 8000.0, "Mine"),
        (5.25, 6.5, 0.0, 8000.0, "Dog"),
        (6.0, 9.125, 0.0, 8000.0, BABY),
        (9.5, 9.75, 0.0, 8000.0, "Mine"),
    ]
    table = pandas.read_csv(path, sep="\t")
    assert list(table)[:10] == [
        *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
        *("Begin File", "Begin Path", "File Offset (s)"),
    ]
    assert table["File Offset (s)"].tolist() == [4.5, 0.25, 1.0, 4.5]
    assert table["Begin File"].tolist() == ["a.wav", *["night.wav"] * 3]
    assert table["Begin Path"][0] == os.path.abspath("b/a.wav")
    assert table["Selection"].tolist() == [1, 2, 3, 4]


def test_raven_box_ends_at_half_the_rate_of_a_slow_recording(tmp_path: Path):
    path = write(tmp_path / "a.txt", "raven", timeline("a.wav", DOG, sample_rate=8000.0))
    assert "\t4000.0\t" in path.read_text()


def test_textgrid_in_praatio(tmp_path: Path):
    from praatio import textgrid

    grid = textgrid.openTextgrid(
        str(write(tmp_path / "night.TextGrid", "textgrid", NIGHT)), includeEmptyIntervals=False
    )
    assert grid.tierNames == ("Dog", BABY, "Mine")
    assert [tuple(entry) for entry in grid.getTier(BABY).entries] == [(1.0, 4.125, BABY)]
    assert grid.maxTimestamp == 5.0


def test_textgrid_joins_what_one_tier_cannot_hold(tmp_path: Path):
    from praatio import textgrid

    events = Event(1, 3, "Dog", None, 1.0), Event(2, 6, "Dog", None, 1.0), Event(8, 8, "Dog", None, 1.0)
    path = write(tmp_path / "a.TextGrid", "textgrid", timeline("a.wav", *events, duration=5.0))
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    assert [tuple(entry)[:2] for entry in grid.getTier("Dog").entries] == [(1, 6), (8, 8.001)]


def test_elan_document_in_pympi(tmp_path: Path):
    from pympi import Elan

    path = write(tmp_path / "night.eaf", "elan", timeline("odd näme.wav", DOG, BABIES))
    document = Elan.Eaf(str(path))
    assert set(document.get_tier_names()) == {"Dog", BABY}
    assert document.get_annotation_data_for_tier("Dog") == [(250, 1500, "Dog")]
    assert document.media_descriptors[0]["MEDIA_URL"].startswith("file:///")
    assert document.media_descriptors[0]["MEDIA_URL"].endswith("/odd%20n%C3%A4me.wav")
    assert (
        path.read_bytes() == write(tmp_path / "again.eaf", "elan", timeline("odd näme.wav", DOG, BABIES)).read_bytes()
    )


def test_rttm(tmp_path: Path):
    path = write(tmp_path / "night.rttm", "rttm", timeline("a b.wav", BABIES))
    assert path.read_text().split() == [
        *("SPEAKER", "a%20b.wav", "1", "1.000", "3.125", "<NA>", "<NA>", "Baby_cry,_infant_cry", "0.7500", "<NA>")
    ]


def jams_file(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jams and its dependencies warn of their own
        import jams

        file = jams.load(str(path))
        file.validate()
        return file


def test_jams_of_events_and_of_tags(tmp_path: Path):
    file = jams_file(write(tmp_path / "night.jams", "jams", NIGHT))
    (annotation,) = file.search(namespace="segment_open")
    assert [(item.time, item.duration, item.value, item.confidence) for item in annotation.data] == [
        (0.25, 1.25, "Dog", 0.9),
        (1.0, 3.125, BABY, 0.75),
        (4.5, 0.25, "Mine", 0.5),
    ]
    assert (file.file_metadata.title, file.file_metadata.duration) == ("night.wav", 5.0)
    file = jams_file(write(tmp_path / "tags.jams", "jams", tagging("night.wav", Tag("Dog", None, 0.8))))
    (annotation,) = file.search(namespace="tag_open")
    assert [(item.time, item.duration, item.value) for item in annotation.data] == [(0.0, 5.0, "Dog")]


def test_dcase_table_in_sed_eval_and_sed_scores_eval(tmp_path: Path):
    path = write(tmp_path / "a.dcase.tsv", "dcase", timeline("x/night.wav", DOG, BABIES), timeline("x/silent.wav"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sed_eval
        from sed_scores_eval.base_modules.io import read_ground_truth_events

        events = sed_eval.io.load_event_list(str(path))
        metrics = sed_eval.sound_event.EventBasedMetrics(event_label_list=["Dog", BABY], t_collar=0.2)
        for name in ("night.wav", "silent.wav"):
            metrics.evaluate(events.filter(filename=name), events.filter(filename=name))
    assert metrics.overall["Ntp"] == metrics.overall["Nsys"] == 2
    assert read_ground_truth_events(path) == {"night": [[0.25, 1.5, "Dog"], [1.0, 4.125, BABY]]}


def test_dcase_table_has_folders_where_names_are_alike(tmp_path: Path):
    path = write(tmp_path / "a.dcase.tsv", "dcase", timeline("x/a.wav", DOG), timeline("y/a.wav", MINE))
    assert [line.split("\t")[0] for line in path.read_text().splitlines()] == ["filename", "x/a.wav", "y/a.wav"]


def test_score_tables_in_sed_scores_eval(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sed_scores_eval.base_modules.io import read_sed_scores

    write(tmp_path / "night.tsv", "dcase-scores", NIGHT)
    scores = read_sed_scores(tmp_path)["night"]
    assert list(scores) == ["onset", "offset", "Dog", BABY]
    assert scores["onset"].tolist() == [0, 1, 2, 3, 4]
    assert scores["Dog"].to_numpy() == pytest.approx(NIGHT.scores[:, 0], abs=1e-4)


def test_score_tables_need_scores(tmp_path: Path):
    from dataclasses import replace

    with pytest.raises(OutputError, match="dcase-scores needs"):
        write(tmp_path / "night.tsv", "dcase-scores", replace(NIGHT, scores=None))


def test_label_studio_tasks(tmp_path: Path):
    first, second = json.loads(write(tmp_path / "a.json", "label-studio", NIGHT, SILENT).read_text())
    assert first["data"]["file"] == "night.wav"
    assert first["data"]["audio"].startswith("/data/local-files/?d=")
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "demo"
    assert prediction["score"] == 0.9
    region = prediction["result"][1]
    assert (region["type"], region["from_name"], region["to_name"]) == ("labels", "label", "audio")
    assert region["value"] == {"start": 1.0, "end": 4.125, "channel": 0, "labels": [BABY]}
    assert second["predictions"][0]["result"] == []
    (task,) = json.loads(
        write(tmp_path / "b.json", "label-studio", tagging("a.wav", Tag("Dog", None, 0.8))).read_text()
    )
    assert task["predictions"][0]["result"][0]["value"] == {"choices": ["Dog"]}


def test_kaleidoscope_table(tmp_path: Path):
    import pandas

    path = write(tmp_path / "a.csv", "kaleidoscope", timeline("x/a.wav", DOG), timeline("x/y/b.wav", BABIES))
    table = pandas.read_csv(path, keep_default_na=False)
    assert table["INDIR"].tolist() == [os.path.abspath("x")] * 2
    assert table["FOLDER"].tolist() == ["", "y"]
    assert table["IN FILE"].tolist() == ["a.wav", "b.wav"]
    assert table["OFFSET"].tolist() == [0.25, 1.0]
    assert table["DURATION"].tolist() == [1.25, 3.125]
    assert table["TOP1MATCH"].tolist() == ["Dog", BABY]
    assert table["TOP1DIST"].tolist() == [0.1, 0.25]


def test_parquet_in_duckdb(tmp_path: Path):
    import duckdb

    path = write(tmp_path / "a.parquet", "parquet", NIGHT, SILENT, timeline("b.wav", DOG), absolute_time=True)
    rows = duckdb.sql(f"SELECT file, label, mid, e.onset, e.offset, score FROM '{path}' e ORDER BY file, e.onset")
    assert [tuple(map(str, row)) for row in rows.fetchall()] == [
        ("b.wav", "Dog", "/m/0bt9lr", "0.25", "1.5", "0.9"),
        ("night.wav", "Dog", "/m/0bt9lr", "0.25", "1.5", "0.9"),
        ("night.wav", BABY, "/t/dd00002", "1.0", "4.125", "0.75"),
        ("night.wav", "Mine", "None", "4.5", "4.75", "0.5"),
    ]
    times = duckdb.sql(f"SELECT epoch_ms(onset_utc) - 1714541400000 FROM '{path}' ORDER BY file, onset").fetchall()
    assert times == [(None,), (250,), (1000,), (4500,)]


def test_parquet_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from pyarrow import parquet

    from sedkit.formats import columnar

    monkeypatch.setattr(columnar, "GROUP", 2)
    file = parquet.ParquetFile(write(tmp_path / "a.parquet", "parquet", NIGHT, timeline("b.wav", DOG, MINE)))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 2, 1]
    assert json.loads(file.schema_arrow.metadata[b"sedkit"]) == {
        "sedkit": version(),
        "model": "demo",
        "results": "events",
    }


def test_arrow_in_pyarrow(tmp_path: Path):
    from pyarrow import feather

    table = feather.read_table(write(tmp_path / "a.arrow", "arrow", tagging("a.wav", Tag("Dog", None, 0.8))))
    assert table.to_pylist() == [{"file": "a.wav", "label": "Dog", "mid": None, "onset": 0, "offset": 5, "score": 0.8}]


def test_times_in_utc(tmp_path: Path):
    text = write(tmp_path / "a.csv", "csv", NIGHT, timeline("b.wav", DOG), absolute_time=True).read_text().splitlines()
    assert text[0] == "file,onset,offset,label,mid,score,onset_utc,offset_utc"
    assert text[1].endswith(",2024-05-01T05:30:00.250Z,2024-05-01T05:30:01.500Z")
    assert text[4].endswith(",0.9,,")
    tags = tagging("a.wav", Tag("Dog", None, 0.8))
    object.__setattr__(tags, "recorded_at", RECORDED_AT)
    text = write(tmp_path / "tags.tsv", "tsv", tags, absolute_time=True).read_text().splitlines()
    assert text[1].endswith("\t2024-05-01T05:30:00.000Z\t2024-05-01T05:30:05.000Z")
    record = json.loads(write(tmp_path / "a.json", "json", NIGHT, absolute_time=True).read_text())
    assert record["recorded_at"] == "2024-05-01T05:30:00.000Z"
    assert record["events"][0]["offset_utc"] == "2024-05-01T05:30:01.500Z"
