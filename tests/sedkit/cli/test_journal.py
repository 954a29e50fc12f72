"""The journal of ``--resume``: damaged ones, those of other versions and formats, and other files in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from sedkit.cli.journal import Journal
from tests.conftest import make_sound

COUNT = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings, and a file that is not audio."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(COUNT):
        soundfile.write(folder / f"{number}.wav", make_sound(1, seed=number), 16000)
    (folder / "broken.wav").write_bytes(b"RIFF but no audio")
    return folder


@pytest.fixture
def output(sedkit, folder: Path, tmp_path: Path) -> Path:
    """The output of a run with a failure, which keeps its journal."""
    output = tmp_path / "x.csv"
    assert sedkit("timeline", folder, "-t", "0.4", "-o", output).exit_code == 1
    return output


def results_in(journal: Path) -> list[str]:
    return [head["file"] for _, head in Journal(journal, {}).records() if "file" in head]


def test_formats_that_need_more_of_the_results_are_refused(sedkit, folder: Path, output: Path):
    only, new = folder / "1.wav", output.with_name("new.csv")
    page, scores = output.with_name("x.png"), output.with_name("x.scores.tsv")
    for first, second, difference in (
        ([], ["-o", page], "had no output in html or png or svg or pdf, this one has one; give the same formats"),
        (["-o", scores], [], "had an output in dcase-scores, this one has none; give the same formats"),
    ):
        assert sedkit("timeline", only, "-o", new, "--resume", *first).exit_code == 0
        result = sedkit("timeline", only, "-o", new, "--resume", *second)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"sedkit: error: {new}: the earlier run {difference}")
        new.unlink()
        new.with_name("new.csv.journal").unlink()


@pytest.mark.parametrize("size", [0, 5, 12, 20, 100])
def test_a_journal_cut_off_in_its_first_record_is_empty(sedkit, folder: Path, output: Path, size: int):
    journal = output.with_name("x.csv.journal")
    whole = journal.read_bytes()
    for content in (whole[:size], bytes(size)):  # a file system may keep the length without the contents
        journal.write_bytes(content)
        for options in (["--resume"], []):
            assert sedkit("timeline", folder, "-t", "0.4", "-o", output, *options).exit_code == 1
            assert len(results_in(journal)) == COUNT
            journal.write_bytes(content)


def test_a_journal_of_another_version_is_refused(sedkit, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sedkit.cli.journal.FORMAT", 2)
    result = sedkit("timeline", folder, "-t", "0.4", "-o", output, "--resume")
    assert result.exit_code == 1
    assert "x.csv.journal: is of another version of sedkit; to start over, leave out --resume" in result.stderr


def test_a_result_that_cannot_be_understood_is_explained(
    sedkit, folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch
):
    def unpack(data: bytes, labels: tuple) -> None:
        raise KeyError("a field of another version")

    monkeypatch.setattr("sedkit.cli.result_codec.unpack", unpack)
    result = sedkit("timeline", folder, "-t", "0.4", "-o", output, "--resume")
    assert result.exit_code == 1
    assert "x.csv.journal: was changed by another program; delete it and start over" in result.stderr


@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_what_is_no_journal_is_left_alone(sedkit, folder: Path, output: Path, options: list[str]):
    journal = output.with_name("x.csv.journal")
    journal.write_text("Dear diary, this is not a journal of sedkit.")
    result = sedkit("timeline", folder, "-t", "0.4", "-o", output, *options)
    assert result.exit_code == 1
    assert f"{journal}: is not a journal of this version of sedkit; " in result.stderr
    assert journal.read_text().startswith("Dear diary")
    journal.unlink()
    journal.mkdir()
    result = sedkit("timeline", folder, "-t", "0.4", "-o", output, *options)
    assert result.exit_code == 1
    assert f"{journal}: is a folder, and the results of the run go there; " in result.stderr
