"""Several outputs of one run: files, folders, and the table of recordings."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from sedkit.cli.targets import mirror
from sedkit.formats import FORMATS
from tests.conftest import make_sound


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings whose names differ in folder or ending only, and a file that is not audio."""
    folder = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("a.wav", "a.flac", "b.wav", "below/a.wav")):
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, make_sound(1.5, 22050, seed=number), 22050)
    (folder / "broken.wav").write_bytes(b"RIFF but no audio")
    return folder


@pytest.fixture
def sedkit(model_path: Path):
    def run(command: str, *arguments: str | Path, threshold: float = 0.3) -> Result:
        options = ["--model", str(model_path), "--device", "cpu", "-t", str(threshold)]
        result = CliRunner().invoke(main, [command, *options, *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_run_writes_what_several_would(sedkit, clips: Path, tmp_path: Path):
    names = ["x.csv", "x.json", "x.tsv"]
    outputs = [argument for name in names for argument in ("-o", tmp_path / name)]
    assert sedkit("timeline", clips / "a.wav", clips / "b.wav", *outputs).exit_code == 0
    assert files_in(tmp_path) == names
    (tmp_path / "alone").mkdir()
    for name in names:
        assert sedkit("timeline", clips / "a.wav", clips / "b.wav", "-o", tmp_path / "alone" / name).exit_code == 0
        assert (tmp_path / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_standard_output_and_a_file(sedkit, clips: Path, tmp_path: Path):
    result = sedkit("tag", clips / "a.wav", "-o", "-", "-o", tmp_path / "x.json", "-f", "tsv", "-f", "json")
    assert result.stdout.startswith("file\tlabel\tmid\tscore\n")
    assert json.loads((tmp_path / "x.json").read_text())["file"] == str(clips / "a.wav")


@pytest.mark.parametrize("spelling", ["--output-dir", "-o"])
def test_folder_mirrors_the_recordings(sedkit, clips: Path, tmp_path: Path, spelling: str):
    target = f"{tmp_path}/out/"
    result = sedkit("timeline", clips, "-r", "-f", "audacity", "-f", "csv", spelling, target)
    assert result.exit_code == 1  # broken.wav
    ending = FORMATS["audacity"].suffixes[0]
    expected = [f"{name}{ending}" for name in ("a.flac", "a.wav", "b", "below/a")]
    assert files_in(tmp_path / "out") == sorted([*expected, "events.csv", "sedkit.journal"])


def test_mirror_gives_different_names_to_different_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("p/x", "q/x"):
        Path(folder).mkdir(parents=True)
    assert mirror(["p/x/a.wav"], ["p/x"]) == {"p/x/a.wav": "a"}
    assert list(mirror(["p/x/a.wav", "q/x/a.wav"], ["p", "q"]).values()) == ["p/x/a", "q/x/a"]
    assert list(mirror(["p/x/a.wav", "q/x/a.wav"], ["p/x/a.wav", "q/x/a.wav"]).values()) == ["p/x/a", "q/x/a"]
    assert list(mirror(["p/x/a.wav", "p/x/b.wav"], ["p/x/*.wav"]).values()) == ["a", "b"]
    assert list(mirror(["p/x/a.wav", "-"], ["p/x", "-"]).values())[1].endswith("stdin")
    clashing = ["p/a.wav", "p/A.mp3", "p/a.wav.flac", "p/b.c.wav"]
    assert list(mirror(clashing, ["p"]).values()) == ["a.wav", "A.mp3", "a.wav.flac", "b.c"]
    no_endings = ["p/site1.day2", "p/2024-05-01 05.30.00"]
    assert list(mirror(no_endings, ["p"]).values()) == ["site1.day2", "2024-05-01 05.30.00"]
    Path("p/a.voc").touch()
    assert list(mirror(["p/a.voc"], ["p"]).values()) == ["a"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-f", "srt", "-o", "x.srt"],
            "x.srt: a file of the format srt holds one recording, and 2 are given; name a folder",
        ),
        (["-f", "srt"], "standard output: a file of the format srt holds one recording"),
        (["-o", "out/"], "out/: is a folder; choose with --format what to write into it, or name a file in it"),
        (["-f", "csv", "-f", "json"], "2 times --format and 0 times --output; give as many of each"),
        (["-o", "x.csv", "-o", "./x.csv"], "x.csv is given twice"),
        (["-o", "x.csv.journal", "-f", "csv", "-o", "x.csv", "-f", "csv"], "x.csv.journal is where the results of an"),
        (["-o", "x.csv", "-f", "csv", "-o", "x.csv.lock", "-f", "csv"], "x.csv.lock is where the results of an"),
        (["-o", "x.txt"], "x.txt: no format has the ending .txt; choose one with --format. Known are .json, .jsonl"),
        (["--recordings", "x.json"], "--recordings x.json: must end in .csv, .tsv or .parquet."),
        (["-o", "-", "-o", "x.csv", "--resume"], "--resume needs an --output FILE or an --output-dir, and no other"),
    ],
)
def test_outputs_that_make_no_sense_are_refused(
    sedkit, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    result = sedkit("timeline", clips / "a.wav", clips / "b.wav", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not os.listdir(tmp_path)


def test_what_a_link_points_to_is_not_overwritten(sedkit, clips: Path, tmp_path: Path):
    link, recording = tmp_path / "link.wav", tmp_path / "a.wav"
    recording.write_bytes(next(clips.glob("**/*.wav")).read_bytes())
    link.symlink_to(recording)
    before = recording.read_bytes()
    result = sedkit("tag", link, "-o", recording, "-f", "csv")
    assert result.exit_code == 2
    assert "is one of the recordings; choose another --output" in result.stderr
    assert recording.read_bytes() == before


def test_format_of_events_is_refused_for_tags(sedkit, clips: Path):
    result = sedkit("tag", clips / "a.wav", "-f", "srt")
    assert result.exit_code == 2
    assert "srt holds events, not tags; use sedkit timeline." in result.stderr


def test_missing_package_is_refused_before_the_analysis(sedkit, clips: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(FORMATS["parquet"], "modules", ("no_such_module",))
    result = sedkit("timeline", clips / "broken.wav", "-o", tmp_path / "x.parquet")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "parquet needs no_such_module, which is not installed: pip install 'sedkit-audio[" in line


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_table_has_a_row_for_every_recording(sedkit, clips: Path, tmp_path: Path, suffix: str):
    table = tmp_path / f"recordings{suffix}"
    names = [str(clips / name) for name in ("a.wav", "broken.wav", "b.wav")] + ["now\rhere.wav"]
    result = sedkit("timeline", *names, "-o", tmp_path / "x.json", "--recordings", table, threshold=1)
    assert result.exit_code == 1
    if suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(table).to_pylist()
    else:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="," if suffix == ".csv" else "\t"))
    assert [row["file"] for row in rows] == names
    found, broken, _, nowhere = rows
    assert (float(found["duration"]), float(found["sample_rate"]), int(found["results"])) == (1.5, 22050, 0)
    assert not found["error"]
    assert "broken.wav" in broken["error"]
    assert not broken["duration"]
    assert nowhere["error"] == "now\rhere.wav: no such file or folder; check the path"
    assert {row["model"] for row in rows} == {"test"}
    assert json.loads(found["settings"])["--channel"] == "mix"


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_table_of_recordings_whose_names_are_not_utf_8(sedkit, clips: Path, tmp_path: Path):
    """Both tables escape them alike, also where the recording has failed."""
    good, bad = (tmp_path / os.fsdecode(name) for name in (b"good\xff.wav", b"bad\xff.wav"))
    shutil.copy(clips / "a.wav", good)
    bad.write_bytes(b"junk")
    outputs = "-o", tmp_path / "events.parquet", "--recordings", tmp_path / "recordings.parquet"
    result = sedkit("timeline", bad, good, *outputs, threshold=0.01)
    assert result.exit_code == 1
    assert result.stderr.count("bad") == 1
    read_table = pytest.importorskip("pyarrow.parquet").read_table
    failed, found = read_table(tmp_path / "recordings.parquet").to_pylist()
    assert failed["file"] == f"{tmp_path}/bad\\udcff.wav"
    assert failed["error"].startswith(f"{tmp_path}/bad\\udcff.wav: not audio")
    assert {row["file"] for row in read_table(tmp_path / "events.parquet").to_pylist()} == {found["file"]}


def test_table_of_recordings_that_are_all_missing(sedkit, tmp_path: Path):
    table = tmp_path / "recordings.csv"
    result = sedkit("tag", "nowhere.wav", "nor-here.wav", "--recordings", table)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "sedkit: 2 of 2 failed"
    with table.open(encoding="utf-8", newline="") as file:
        assert [row["error"].split(":")[0] for row in csv.DictReader(file)] == ["nowhere.wav", "nor-here.wav"]


def test_table_of_recordings_whose_names_are_formulas(
    sedkit, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copy(clips / "a.wav", "=1+1.wav")
    assert (
        sedkit("tag", "=1+1.wav", "=2.wav", "--recordings", "r.tsv", "-f", "json", "--escape-formulas").exit_code == 1
    )
    with open("r.tsv", encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file, delimiter="\t")
    assert (first["file"], second["file"]) == ("'=1+1.wav", "'=2.wav")
    assert second["error"].startswith("'=2.wav: no such file")


def test_table_beside_standard_output(sedkit, clips: Path, tmp_path: Path):
    result = sedkit("tag", clips / "a.wav", "--recordings", tmp_path / "recordings.csv")
    assert result.stdout == sedkit("tag", clips / "a.wav").stdout
    assert files_in(tmp_path) == ["recordings.csv"]


@pytest.mark.parametrize("alone", [False, True])
def test_every_format_has_an_ending_of_its_own(alone: bool):
    endings = [
        writer.ending or writer.suffixes[0] for writer in FORMATS.values() if ("events" in writer.single) == alone
    ]
    assert len(set(endings)) == len(endings)


def test_two_formats_never_write_the_same_file(sedkit, clips: Path, tmp_path: Path):
    (tmp_path / "events.wav").write_bytes((clips / "b.wav").read_bytes())
    options = ["-f", "tsv", "-f", "dcase-scores", "-o", f"{tmp_path}/out/"]
    result = sedkit("timeline", tmp_path / "events.wav", *options)
    assert result.exit_code == 1
    assert "out/events.tsv: two formats would write this file" in result.stderr


def test_a_plot_comes_beside_the_results(sedkit, clips: Path, tmp_path: Path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    result = sedkit("tag", clips / "a.wav", "--plot", tmp_path / "x.svg", "-f", "tsv")
    assert result.stdout.startswith("file\tlabel\tmid\tscore\n")
    assert "<svg" in (tmp_path / "x.svg").read_text()
    refused = sedkit("tag", clips / "a.wav", "--plot", tmp_path / "x.jpg")
    assert refused.exit_code == 2
    assert "must end in .png, .svg, .pdf" in refused.stderr


@pytest.mark.parametrize("names", [["sub/a.wav", "sub/b.wav"], ["sub/a.wav", "sub/a.flac"]])
def test_tags_lead_to_the_pages_of_the_same_folder(sedkit, clips: Path, tmp_path: Path, names: list[str]):
    for name in names:
        (tmp_path / "rec" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / Path(name).name, tmp_path / "rec" / name)
    for command in ("timeline", "tag"):
        result = sedkit(command, tmp_path / "rec", "-r", "-f", "html", "--output-dir", tmp_path / "out")
        assert result.exit_code == 0, result.stderr
    page = (tmp_path / "out" / "tags.html").read_text()
    block = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    links = sorted(row["link"] for row in json.loads(block)["recordings"])
    pages = files_in(tmp_path / "out")
    assert links == [Path(name).as_posix() for name in pages if name.startswith("sub")]
