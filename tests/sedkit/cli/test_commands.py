"""The commands, run in this process on a model with random weights."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import COMMANDS, main
from sedkit.cli.options import split_classes
from sedkit.contract import Label
from sedkit.tagger import Tagger
from sedkit.timeline.views import TagsView
from tests.conftest import LABELS

ALL = len(LABELS)


def objects(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def rows(text: str, delimiter: str = "\t") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def test_tag_json_equals_the_api_result(sedkit, clips: Path, tagger: Tagger):
    result = sedkit("tag", clips / "a.wav", "--format", "json")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert objects(result) == [tagger.tag(clips / "a.wav").to_dict()]
    (found,) = objects(result)
    assert list(found) == ["file", "duration", "tags"]
    assert found["duration"] == 2.5
    scores = [tag["score"] for tag in found["tags"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)


def test_timeline_json_equals_the_api_result(sedkit, clips: Path, tagger: Tagger):
    result = sedkit("timeline", clips / "a.wav", "-f", "json", "--threshold", "0.3", "--resolution", "0.5")
    assert result.exit_code == 0
    (found,) = objects(result)
    assert found == tagger.timeline(clips / "a.wav", threshold=0.3, resolution=0.5).to_dict()
    assert list(found) == ["file", "duration", "resolution", "seconds", "events"]
    assert [cell["start"] for cell in found["seconds"]] == [0, 0.5, 1, 1.5, 2]
    assert found["events"]


def test_timeline_native_resolution(sedkit, clips: Path):
    (found,) = objects(sedkit("timeline", clips / "b.flac", "-f", "json", "--resolution", "native"))
    assert found["resolution"] == "native"
    assert len(found["seconds"]) == 11


def test_default_format_without_a_terminal_is_tsv(sedkit, clips: Path):
    tags, events = sedkit("tag", clips / "a.wav"), sedkit("timeline", clips / "a.wav", "-t", "0")
    assert tags.stdout.splitlines()[0] == "file\tlabel\tmid\tscore"
    assert {row["label"] for row in rows(tags.stdout)} == {label.name for label in LABELS}
    assert events.stdout.splitlines()[0] == "file\tonset\toffset\tlabel\tmid\tscore"
    assert {(row["onset"], row["offset"]) for row in rows(events.stdout)} == {("0.0", "2.5")}


def test_text_format_without_a_terminal(sedkit, clips: Path):
    bars = sedkit("tag", clips / "a.wav", "-f", "text").stdout
    lanes = sedkit("timeline", clips / "a.wav", "-f", "text", "-t", "0").stdout
    assert bars.splitlines()[0].endswith("a.wav  2.5 s")
    assert re.search(r"^Our kettle   [▁-█]{20,}$", lanes, re.MULTILINE)
    assert "\x1b" not in bars + lanes


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--top-k", "2"], 2),
        (["--threshold", "0"], ALL),
        (["--threshold", "1"], 0),
        (["--threshold", "0", "--top-k", "1"], 1),
        (["--classes", "dog,/m/03kmc9"], 2),
        (["-c", "Dog", "-c", "Our kettle", "-c", "Siren"], 3),
    ],
)
def test_tag_options(sedkit, clips: Path, options: list[str], count: int):
    (found,) = objects(sedkit("tag", clips / "a.wav", "-f", "json", *options))
    assert len(found["tags"]) == count


@pytest.mark.parametrize("output_format", ["json", "tsv", "csv", "text"])
def test_silence_has_no_tags_unless_they_are_asked_for(sedkit, tmp_path: Path, output_format: str):
    soundfile.write(tmp_path / "silence.wav", np.zeros(32000), 16000)
    options: list[tuple[list[str], int]] = [([], 0), (["-k", "2"], 0), (["-t", "model"], 0), (["-t", "0"], ALL)]
    for choice, count in [*options, (["-c", "Dog"], 1), (["-c", "Dog", "-t", "0.01"], 0)]:
        result = sedkit("tag", tmp_path / "silence.wav", "-f", output_format, *choice)
        assert (result.exit_code, result.stderr) == (0, "")
        shown = result.stdout
        if output_format == "json":
            assert [tag["score"] for tag in json.loads(shown)["tags"]] == [0] * count
        elif output_format == "text":
            assert ("nothing heard" in shown) == (count == 0)
            assert len(shown.splitlines()) == 1 + max(1, count)
        else:
            assert len(shown.splitlines()) == 1 + count


def test_classes_from_a_file(sedkit, clips: Path, tmp_path: Path):
    (tmp_path / "classes.txt").write_text("Dog\n\n/m/03kmc9\n", encoding="utf-8")
    (found,) = objects(sedkit("tag", clips / "a.wav", "-f", "json", "-c", f"@{tmp_path / 'classes.txt'}"))
    assert {tag["label"] for tag in found["tags"]} == {"Dog", "Siren"}


@pytest.mark.parametrize("option", ["--classes", "--exclude", "--rollup"])
def test_a_file_of_classes_that_is_missing_is_named(sedkit, clips: Path, option: str):
    result = sedkit("tag", clips / "a.wav", option, "@nowhere.txt")
    assert result.exit_code == 2
    assert "Error: @nowhere.txt: cannot be read: No such file or directory." in result.stderr


def test_split_classes_keeps_class_names_with_commas_whole():
    labels = [Label("Baby cry, infant cry", "/t/dd00002"), Label("Dog", "/m/0bt9lr"), Label("Cry"), Label("Baby cry")]
    assert split_classes(["Dog, baby cry,  infant cry,Cry"], labels) == ["Dog", "baby cry, infant cry", "Cry"]
    assert split_classes(["Baby cry, Dog,", "/t/dd00002"], labels) == ["Baby cry", "Dog", "/t/dd00002"]
    assert split_classes(["Dgo, Cry"], labels) == ["Dgo", "Cry"]
    assert split_classes([], labels) is None


def test_folders_and_recursion(sedkit, clips: Path):
    flat = sedkit("tag", clips, "-f", "json")
    assert [Path(found["file"]).name for found in objects(flat)] == ["a.wav", "b.flac"]
    deep = sedkit("tag", clips, "-f", "json", "--recursive")
    assert [Path(found["file"]).name for found in objects(deep)] == ["a.wav", "b.flac", "c.ogg"]


def test_failed_recordings_are_skipped_and_listed_at_the_end(sedkit, clips: Path):
    result = sedkit("tag", clips / "broken.wav", "nowhere.wav", clips / "a.wav", "-f", "json")
    assert result.exit_code == 1
    assert [Path(found["file"]).name for found in objects(result)] == ["a.wav"]
    first, second, third = result.stderr.splitlines()
    assert first == "sedkit: error: nowhere.wav: no such file or folder; check the path"
    assert second.startswith(f"sedkit: error: {clips / 'broken.wav'}: ")
    assert third == "sedkit: 2 of 3 failed"


def test_standard_input(sedkit, clips: Path):
    piped, named = (sedkit("tag", *x, "-f", "json", stdin=(clips / "b.flac").read_bytes()) for x in ([], ["-"]))
    assert piped.stdout == named.stdout
    (found,) = objects(piped)
    (file,) = objects(sedkit("tag", clips / "b.flac", "-f", "json"))
    assert found["file"] == "-"
    assert found["duration"] == file["duration"]
    assert [tag["label"] for tag in found["tags"]] == [tag["label"] for tag in file["tags"]]


def test_empty_standard_input_is_a_one_line_error(sedkit):
    result = sedkit("timeline")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("sedkit: error: -: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--threshold", "1.5"],
        ["--top-k", "0"],
        ["--format", "xml"],
        ["--device", "tpu"],
        ["--nonsense"],
        ["--classes", "Dgo"],
        ["--classes", ","],
        ["--classes", "@nowhere.txt"],
    ],
)
def test_wrong_options_exit_with_2(sedkit, clips: Path, arguments: list[str]):
    result = sedkit("tag", clips / "a.wav", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "rror: " in result.stderr


@pytest.mark.parametrize("resolution", ["0", "-1", "nan", "inf", "fine", "1e-9"])
def test_wrong_resolution_exits_with_2(sedkit, clips: Path, resolution: str):
    assert sedkit("timeline", clips / "a.wav", "--resolution", resolution).exit_code == 2


def test_unknown_class_error_suggests_a_similar_one(sedkit, clips: Path):
    (line,) = sedkit("tag", clips / "a.wav", "--classes", "Dgo").stderr.splitlines()
    assert line.startswith("sedkit: error: Dgo: ")
    assert "Dog" in line


@pytest.mark.parametrize("name", ["no-such-model", "broken.wav"])
def test_missing_or_broken_model_is_a_one_line_error(sedkit, clips: Path, name: str):
    model = clips / name if (clips / name).exists() else name
    result = sedkit("tag", clips / "a.wav", model=model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("sedkit: error: ")
    assert name in line


class TestOutput:
    @pytest.mark.parametrize(("name", "delimiter"), [("x.csv", ","), ("x.TSV", "\t"), ("x", "\t")])
    def test_suffix_chooses_the_format(self, sedkit, clips: Path, tmp_path: Path, name: str, delimiter: str):
        result = sedkit("tag", clips / "a.wav", "--output", tmp_path / name)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
        assert len(rows((tmp_path / name).read_text(), delimiter)) == ALL
        assert os.listdir(tmp_path) == [name]

    def test_format_option_overrides_the_suffix(self, sedkit, clips: Path, tmp_path: Path):
        sedkit("tag", clips / "a.wav", "-o", tmp_path / "x.jsonl")
        sedkit("tag", clips / "a.wav", "-o", tmp_path / "x.csv", "-f", "json")
        assert (tmp_path / "x.jsonl").read_text() == (tmp_path / "x.csv").read_text()
        assert json.loads((tmp_path / "x.csv").read_text())["duration"] == 2.5

    def test_output_dash_is_standard_output(self, sedkit, clips: Path):
        assert sedkit("tag", clips / "a.wav", "-o", "-").stdout == sedkit("tag", clips / "a.wav").stdout

    def test_unwritable_path_fails_before_the_analysis(self, sedkit, clips: Path, tmp_path: Path):
        result = sedkit("tag", clips / "broken.wav", "-o", tmp_path / "none" / "x.csv")
        assert result.exit_code == 1
        assert "does not exist" in result.stderr
        assert "broken.wav" not in result.stderr

    @pytest.mark.parametrize("name", ["there", "there/", "new/", "new.csv/"])
    def test_folder_without_a_format_is_refused_with_a_remedy(self, sedkit, clips: Path, tmp_path: Path, name: str):
        (tmp_path / "there").mkdir()
        result = sedkit("tag", clips / "a.wav", "-o", f"{tmp_path}/{name}")
        assert result.exit_code == 2
        assert f"{tmp_path}/{name}: is a folder; choose with --format what to write into it" in result.stderr
        assert os.listdir(tmp_path) == ["there"]
        assert not os.listdir(tmp_path / "there")

    @pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
    def test_bom(self, sedkit, clips: Path, tmp_path: Path, name: str):
        sedkit("timeline", clips / "a.wav", "-t", "0.3", "-o", tmp_path / f"plain-{name}")
        result = sedkit("timeline", clips / "a.wav", "-t", "0.3", "-o", tmp_path / name, "--bom")
        assert (result.exit_code, result.stderr) == (0, "")
        assert (tmp_path / name).read_bytes() == b"\xef\xbb\xbf" + (tmp_path / f"plain-{name}").read_bytes()
        text = (tmp_path / name).read_text(encoding="utf-8-sig")
        assert rows(text, "," if name == "x.csv" else "\t")[0]["file"] == str(clips / "a.wav")

    @pytest.mark.parametrize(
        "options", [["-f", "json"], ["-f", "text"], ["-o", "x.jsonl"], ["--engine", "ray", "-o", "x"]]
    )
    def test_bom_is_refused_for_other_formats(self, sedkit, clips: Path, options: list[str]):
        result = sedkit("tag", clips / "a.wav", "--bom", *options)
        assert result.exit_code == 2
        assert "--bom" in result.stderr.splitlines()[-1]

    def test_unknown_suffix_needs_the_format_option(self, sedkit, clips: Path, tmp_path: Path):
        for name in ("x.xlsx", "x.csv.gz", "x.txt"):
            result = sedkit("tag", clips / "a.wav", "-o", tmp_path / name)
            assert result.exit_code == 2
            assert "--format" in result.stderr
            assert ".json, .jsonl, .ndjson, .csv, .tsv" in result.stderr
        assert not os.listdir(tmp_path)

    def test_wrong_model_name_keeps_earlier_results(self, sedkit, clips: Path, tmp_path: Path):
        (tmp_path / "x.csv.journal").write_text("results of hours")
        assert sedkit("tag", clips / "a.wav", "-o", tmp_path / "x.csv", model="no-such-model").exit_code == 1
        assert (tmp_path / "x.csv.journal").read_text() == "results of hours"

    def test_output_never_overwrites_a_recording(self, sedkit, clips: Path):
        before = (clips / "a.wav").read_bytes()
        assert sedkit("tag", clips / "a.wav", "-o", clips / "a.wav").exit_code == 2
        assert (clips / "a.wav").read_bytes() == before

    def test_run_without_results_keeps_the_old_file(self, sedkit, clips: Path, tmp_path: Path):
        (tmp_path / "x.csv").write_text("old")
        assert sedkit("tag", clips / "broken.wav", "-o", tmp_path / "x.csv").exit_code == 1
        assert (tmp_path / "x.csv").read_text() == "old"
        assert os.listdir(tmp_path) == ["x.csv"]

    def test_device_is_written_without_partial_file(self, sedkit, clips: Path):
        assert sedkit("tag", clips / "a.wav", "-o", os.devnull).exit_code == 0
        assert not Path(os.devnull).is_file()

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
    def test_a_folder_that_takes_no_files(self, sedkit, clips: Path):
        result = sedkit("tag", clips, "-o", "/proc/x.csv")
        assert result.exit_code == 1
        assert result.stderr == "sedkit: error: /proc/x.csv: no file can be created in /proc; choose another folder\n"

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_full_device_is_a_one_line_error(self, sedkit, clips: Path):
        result = sedkit("tag", clips, "-o", "/dev/full")
        assert result.exit_code == 1
        assert result.stderr == "sedkit: error: /dev/full: cannot be written: No space left on device\n"

    def test_output_through_a_symbolic_link_keeps_the_link(self, sedkit, clips: Path, tmp_path: Path):
        (tmp_path / "there").mkdir()
        (tmp_path / "x.csv").symlink_to(tmp_path / "there" / "x.csv")
        sedkit("tag", clips / "a.wav", "-o", tmp_path / "x.csv")
        assert (tmp_path / "x.csv").is_symlink()
        assert (tmp_path / "there" / "x.csv").read_text().startswith("file,")


def test_unexpected_exception_fails_one_recording_only(sedkit, clips: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SEDKIT_DEBUG")
    original = TagsView.finish

    def faulty(self, file, duration):
        if file.endswith("a.wav"):
            raise ZeroDivisionError("two\nlines")
        return original(self, file, duration)

    monkeypatch.setattr(TagsView, "finish", faulty)
    result = sedkit("tag", clips / "a.wav", clips / "b.flac", "-f", "json")
    assert result.exit_code == 1
    assert [Path(found["file"]).name for found in objects(result)] == ["b.flac"]
    assert result.stderr.splitlines()[0] == f"sedkit: error: {clips / 'a.wav'}: ZeroDivisionError: two lines"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_examples(command: str):
    short, long = (CliRunner().invoke(main, [command, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.stdout == long.stdout
    assert f"Examples:\n    {'eval' if command == 'completion' else 'sedkit'}" in short.stdout.replace('"$(sedkit', "")
