"""``--channel each``, ``--gain`` and truncated recordings, by command and in Python."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from sedkit.audio.prefetch import path_of
from sedkit.cli import main
from sedkit.errors import ArgumentError, AudioWarning
from sedkit.tagger import Tagger
from tests.conftest import make_sound

LEFT, RIGHT = make_sound(5, seed=1), make_sound(5, seed=2)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.stack([LEFT, RIGHT], axis=1), 16_000)
    return path


def run(*arguments: object, code: int = 0, data: bytes = b"") -> tuple[str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=data)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_each_channel_is_a_result(tagger: Tagger, talk: Path, model_path: Path) -> None:
    out, _ = run("timeline", talk, "--channel", "each", "--format", "json", "--model", model_path)
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["file"] for record in records] == [f"{talk}#1", f"{talk}#2"]
    for number, record in enumerate(records, 1):
        alone = tagger.timeline(talk, channel=number).to_dict()
        assert {**record, "file": str(talk)} == alone
    results = tagger.timeline_channels(talk)
    assert [path_of(timeline.file) for timeline in results] == [str(talk)] * 2
    expected = [timeline.to_dict() for timeline in results]
    assert expected == records
    with open(talk, "rb") as file:
        assert [timeline.to_dict() for timeline in tagger.timeline_channels(file)] == records


def test_a_failure_among_channels_is_counted(talk: Path, model_path: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF but no audio")
    _, err = run("tag", talk, bad, "--channel", "each", "--model", model_path, code=1)
    assert err.splitlines()[-1] == "sedkit: 1 of 3 failed"


def test_each_channel_of_an_array_and_of_a_pipe(tagger: Tagger, talk: Path, model_path: Path) -> None:
    both = np.stack([LEFT, RIGHT], axis=1)
    results = tagger.tag_channels(both, 16_000, top_k=1)
    assert [result.file for result in results] == ["<array>#1", "<array>#2"]
    assert results[1].tags == tagger.tag(RIGHT, 16_000, top_k=1).tags
    _, err = run("tag", "-", "--channel", "each", "--model", model_path, code=2, data=talk.read_bytes())
    assert "--channel each reads a recording once per channel; save the pipe to a file first." in err
    with pytest.raises(ArgumentError, match="every channel has a result"):
        tagger.tag_channels(both, 16_000, channel=1)
    assert tagger.tag(both, 16_000, top_k=1, channel=np.int64(2)).tags == results[1].tags
    with pytest.raises(ArgumentError, match="a pipe cannot be read once per channel"):
        tagger.tag_channels(type("Pipe", (io.BytesIO,), {"seekable": lambda self: False})(talk.read_bytes()))
    read, write = os.pipe()
    os.close(write)
    with open(read, "rb") as pipe, pytest.raises(ArgumentError, match="a pipe cannot be read once per channel"):
        tagger.timeline_channels(pipe)


def test_each_channel_of_whatever_tag_accepts(tagger: Tagger, talk: Path) -> None:
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return np.stack([LEFT, RIGHT])

    expected = tagger.tag_channels(np.stack([LEFT, RIGHT]), 16_000)
    assert len(expected) == 2
    assert tagger.tag_channels(Tensor(), 16_000) == expected
    assert tagger.tag_channels(np.stack([LEFT, RIGHT], axis=1).tolist(), 16_000) == expected
    with talk.open("rb") as file:
        for source in (file, io.BytesIO(b"header" + talk.read_bytes()), talk.read_bytes()):
            if isinstance(source, io.BytesIO):
                source.seek(6)
            found = tagger.tag_channels(source)
            assert [result.tags for result in found] == [result.tags for result in tagger.tag_channels(talk)]
    for source, rate, message in (
        (file, None, "the file object is closed; open it again, or pass its path"),
        (5, None, "audio must be a path, a binary file object or a NumPy array, not int"),
        ([1, 2], 16_000, "a list must hold floats"),
        (np.zeros(10), None, "an array needs a sample_rate"),
    ):
        with pytest.raises(ArgumentError, match=message):
            tagger.timeline_channels(source, rate)
    with pytest.raises(ArgumentError, match="track must be an integer of at least 1, not 'one'"):
        tagger.tag_channels(talk, track="one")


def test_files_of_each_channel_have_names_of_their_own(talk: Path, model_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    run("timeline", talk, "--channel", "each", "-f", "audacity", "--output-dir", folder, "--model", model_path)
    assert len(list(folder.rglob("*.txt"))) == 2


def test_a_file_that_holds_one_recording_does_not_take_several_channels(
    talk: Path, model_path: Path, tmp_path: Path
) -> None:
    arguments = "timeline", talk, "--channel", "each", "--model", model_path
    for output in (["-o", tmp_path / "talk.srt"], ["-f", "vtt"]):
        _, err = run(*arguments, *output, code=2)
        assert "holds one recording, and 2 are given" in err
    assert not (tmp_path / "talk.srt").exists()


def test_other_programs_get_the_recording_of_each_channel(talk: Path, model_path: Path, tmp_path: Path) -> None:
    """From the journal, from a stream, in Python, and from a file of results."""
    arguments = "timeline", talk, "--channel", "each", "--threshold", "0.1", "--model", model_path, "-f"
    out, _ = run(*arguments, "raven")
    table = list(csv.DictReader(io.StringIO(out), delimiter="\t"))
    assert {row["Channel"] for row in table} == {"1", "2"}
    assert {row["Begin Path"] for row in table} == {str(talk)}
    run(*arguments, "raven", "-o", tmp_path / "all.selections.txt")
    assert (tmp_path / "all.selections.txt").read_text() == out
    run(*arguments, "json", "-o", tmp_path / "all.json")
    out, _ = run("convert", tmp_path / "all.json", "-", "-f", "raven")
    again = list(csv.DictReader(io.StringIO(out), delimiter="\t"))
    names = "Channel", "Begin Path", "Begin Time (s)", "High Freq (Hz)", "Annotation"
    assert [[row[name] for name in names] for row in again] == [[row[name] for name in names] for row in table]


def test_convert_measures_the_recording_of_a_channel(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"file,onset,offset,label\n{talk}#1,1,2,Dog\n{talk}#2,1,2,Dog\n")
    out, err = run("convert", tmp_path / "a.csv", "-", "-f", "json")
    assert [json.loads(line)["duration"] for line in out.splitlines()] == [5.0, 5.0]
    assert [json.loads(line)["file"] for line in out.splitlines()] == [f"{talk}#1", f"{talk}#2"]
    assert err == ""
    _, err = run("convert", tmp_path / "a.csv", talk, "-f", "json", code=2)
    assert "is one of the recordings; choose another --output." in err


@pytest.mark.parametrize("given", [True, False])
def test_extract_finds_the_recording_of_a_channel(talk: Path, tmp_path: Path, given: bool) -> None:
    (tmp_path / "a.csv").write_text("file,onset,offset,label\ntalk.wav#1,1,2,Dog\ntalk.wav#2,1,2,Dog\n")
    arguments = "extract", *([talk] if given else []), "--from", tmp_path / "a.csv", "-o", tmp_path / "clips"
    _, err = run(*arguments)
    assert err == f"sedkit: 2 clips written to {tmp_path / 'clips'}\n"
    with (tmp_path / "clips" / "clips.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["clip"], row["source"]) for row in rows] == [
        (f"Dog/talk#{number}_1.000-2.000.wav", f"{talk}#{number}") for number in (1, 2)
    ]
    for row in rows:
        sound, _ = soundfile.read(tmp_path / "clips" / row["clip"], dtype="int16")
        np.testing.assert_array_equal(sound, soundfile.read(talk, dtype="int16")[0][16_000:32_000])
    _, err = run(*arguments)
    assert err == f"sedkit: 0 clips written to {tmp_path / 'clips'}, 2 kept\n"


def test_a_recording_that_is_named_like_a_channel_is_one(talk: Path, tmp_path: Path) -> None:
    other = talk.with_name("talk.wav#2")
    soundfile.write(other, RIGHT[:32_000], 16_000, format="WAV")
    (tmp_path / "a.csv").write_text("file,onset,offset,label\ntalk.wav#2,1,2,Dog\n")
    run("extract", "--from", tmp_path / "a.csv", "-o", tmp_path / "clips")
    assert soundfile.info(tmp_path / "clips" / "Dog" / "talk_1.000-2.000.wav").channels == 1
    run("extract", other, "--from", tmp_path / "a.csv", "-o", tmp_path / "clips")
    (tmp_path / "b.csv").write_text(f"file,onset,offset,label\n{other},1,2,Dog\n")
    out, _ = run("convert", tmp_path / "b.csv", "-", "-f", "raven")
    assert f"\ttalk.wav#2\t{other}\t" in out


def test_gain(tagger: Tagger, talk: Path, model_path: Path) -> None:
    quiet = talk.with_name("quiet.flac")
    soundfile.write(quiet, 0.01 * LEFT, 16_000, subtype="PCM_24")
    results = []
    for gain in ("0", "40", "auto"):
        out, _ = run("tag", quiet, "--gain", gain, "--format", "json", "--model", model_path, "--threshold", 0)
        results.append(json.loads(out))
    assert results[0] != results[1]
    assert results[1]["tags"] == tagger.tag(quiet, gain=40.0, top_k=None, threshold=0).to_dict()["tags"]
    assert results[2]["tags"] == tagger.tag(quiet, gain="auto", top_k=None, threshold=0).to_dict()["tags"]
    for gain in ("loud", "101", "nan"):
        run("tag", quiet, "--gain", gain, code=2)


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_truncated_recording(tagger: Tagger, tmp_path: Path, model_path: Path, form: str) -> None:
    path = tmp_path / f"cut.{form}"
    soundfile.write(path, LEFT, 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    out, err = run("tag", path, "--format", "json", "--model", model_path)
    lacks = json.loads(out)["truncated"]
    assert json.loads(out)["duration"] + lacks == pytest.approx(5, abs=0.01)
    assert err.splitlines() == [
        f"sedkit: {path}: ends at {5 - lacks:.1f} s, {lacks:.1f} s before the end that its header gives; "
        "sedkit analyses what is there"
    ]
    with pytest.warns(AudioWarning, match="before the end that its header gives"):
        assert tagger.tag(path).truncated == pytest.approx(lacks, abs=0.001)
    path.write_bytes(content)
    out, err = run("tag", path, "--format", "json", "--model", model_path)
    assert "truncated" not in json.loads(out)
    assert err == ""
