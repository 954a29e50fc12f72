"""From the command line to recordings: files, folders, globs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sedkit.cli.inputs import expand


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "b.wav",
        "a.FLAC",
        "notes.txt",
        "._a.wav",
        "deep/c.mp3",
        "deep/er/d.ogg",
        ".hidden/e.wav",
        "none/x.txt",
    ):
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str, recursive: bool = False) -> list[str]:
    found, problems = expand(arguments, recursive)
    assert not problems
    return [name.replace("\\", "/") for name in found]


@pytest.mark.usefixtures("folder")
class TestExpand:
    def test_a_folder_holds_the_audio_directly_in_it_sorted(self):
        assert names("clips") == ["clips/a.FLAC", "clips/b.wav"]

    def test_recursive_looks_below_but_not_into_what_is_hidden(self):
        assert names("clips", recursive=True) == [
            "clips/a.FLAC",
            "clips/b.wav",
            "clips/deep/c.mp3",
            "clips/deep/er/d.ogg",
        ]

    def test_a_named_file_is_taken_whatever_its_ending(self):
        assert names("clips/notes.txt") == ["clips/notes.txt"]

    def test_the_order_of_arguments_is_kept_and_nothing_comes_twice(self, folder: Path):
        assert names("clips/b.wav", "clips", str(folder / "clips" / "a.FLAC"), "clips/../clips/b.wav") == [
            "clips/b.wav",
            "clips/a.FLAC",
        ]

    def test_a_quoted_glob_is_expanded(self):
        assert names("clips/*.wav") == ["clips/b.wav"]
        assert names("clips/**/*.[mo]*", recursive=False) == ["clips/deep/c.mp3", "clips/deep/er/d.ogg"]

    def test_a_file_whose_name_looks_like_a_glob_is_that_file(self, folder: Path):
        (folder / "take[1].wav").touch()
        assert names("take[1].wav") == ["take[1].wav"]

    def test_standard_input(self):
        assert names("-", "clips/b.wav", "-") == ["-", "clips/b.wav"]

    def test_what_is_not_there_is_told_and_the_rest_goes_on(self):
        found, problems = expand(["nowhere.wav", "clips/none", "clips/*.xyz", "clips/b.wav"])
        assert found == ["clips/b.wav"]
        assert [str(problem) for problem in problems] == [
            "nowhere.wav: no such file or folder; check the path",
            "clips/none: no audio files in this folder; --recursive looks in the folders below as well",
            "clips/*.xyz: no file matches; check the pattern",
        ]
