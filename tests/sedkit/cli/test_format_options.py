"""The options of the formats, from the command line to the files, on a model with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from sedkit.formats.reading import read_annotations
from tests.conftest import make_sound

NAMES = "20240501_053000.wav", "b.wav"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for seed, name in enumerate(NAMES, 1):
        soundfile.write(folder / name, make_sound(2.5, seed=seed), 16000)
    return folder


def timeline(model_path: Path, *arguments: str | Path) -> Result:
    options = ["timeline", "--model", str(model_path), "--device", "cpu", "-t", "0.3"]
    return CliRunner().invoke(main, [*options, *map(str, arguments)])


def test_every_format_in_one_run(model_path: Path, clips: Path, tmp_path: Path):
    formats = ["csv", "parquet", "audacity", "raven", "textgrid", "elan", "srt", "vtt", "jams", "dcase", "dcase-scores"]
    result = timeline(model_path, clips, "-o", f"{tmp_path}/", *(part for name in formats for part in ("-f", name)))
    assert result.exit_code == 0, result.output
    for stem in ("20240501_053000", "b"):
        for ending in (".labels.txt", ".TextGrid", ".eaf", ".srt", ".vtt", ".jams", ".tsv"):
            assert (tmp_path / (stem + ending)).is_file(), ending
    reference = {
        Path(found.file).name: [event.label for event in found.events]
        for found in read_annotations(tmp_path / "events.csv")
    }
    assert sum(map(len, reference.values())) > 0
    for name in ("events.parquet", "events.selections.txt", "events.dcase.tsv"):
        for found in read_annotations(tmp_path / name):
            assert [event.label for event in found.events] == reference.get(Path(found.file).name, []), name
    scores = (tmp_path / "b.tsv").read_text().splitlines()
    assert [line.split("\t")[:2] for line in scores] == [
        ["onset", "offset"],
        ["0.0", "1.0"],
        ["1.0", "2.0"],
        ["2.0", "2.5"],
    ]


def test_times_in_utc(model_path: Path, clips: Path, tmp_path: Path):
    result = timeline(model_path, clips, "-f", "json", "--absolute-time")
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["recorded_at"] == "2024-05-01T05:30:00.000Z"
    assert first["events"][0]["onset_utc"].startswith("2024-05-01T05:30:0")
    assert second["recorded_at"] is None
    assert "1 of 2 recordings do not say when they began" in result.stderr
    result = timeline(
        model_path,
        clips / "b.wav",
        "-f",
        "json",
        "--absolute-time",
        "--start",
        "2024-05-01T07:30:00",
        "--timezone",
        "+2",
    )
    assert json.loads(result.stdout)["recorded_at"] == "2024-05-01T05:30:00.000Z"
    assert not result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-f", "audacity", "--absolute-time"], "--absolute-time is for json, csv, tsv, parquet and arrow"),
        (["-f", "json", "--escape-formulas"], "--escape-formulas is for csv and tsv"),
        (["-f", "csv", "--caption-style", "({})"], "--caption-style is for srt and vtt"),
        (["-f", "csv", "--start", "2024-05-01T05:30:00"], "--start is for one recording, and 2 are given"),
        (["--start", "0001-01-01T00:00:00+14:00"], "is no date and time"),
        (["--start", "9999-12-31T23:59:59"], "is no date and time"),
        (
            ["--start", "2024-03-31T02:30", "--timezone", "Europe/Berlin"],
            "there is no such time in Europe/Berlin, where clocks go forward then; give it with its offset from UTC, "
            "such as 2024-03-31T02:30:00+01:00",
        ),
        (["--timezone", "+02:75"], "is no time zone"),
        (["-f", "srt"], "holds one recording, and 2 are given; name a folder, such as out/"),
        (["-o", "x.parquet", "--engine", "ray", "--absolute-time"], "leave out --absolute-time"),
        (["-o", "x.parquet", "--engine", "ray", "--timezone", "+1"], "leave out --timezone"),
        (["-o", "x.parquet", "--engine", "ray"], "x.parquet: --engine ray writes a folder"),
        (["-o", "s3://a/x.csv", "--engine", "ray"], "s3://a/x.csv: --engine ray writes a folder"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], message: str, clips: Path, tmp_path: Path):
    result = timeline(tmp_path / "none.onnx", clips, *options)  # before the model is looked for
    assert result.exit_code == 2
    assert message in result.stderr


def test_missing_package_is_named_before_the_analysis(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sedkit.formats.find_spec", lambda name: None)
    result = timeline(tmp_path / "none.onnx", clips, "-o", f"{tmp_path}/", "-f", "textgrid")
    assert result.exit_code == 1
    assert "textgrid needs praatio, which is not installed: pip install 'sedkit-audio[formats]'" in result.stderr
