"""Expansion of command-line arguments to recordings: files, folders, globs."""

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
    def test_folder_yields_its_audio_files_sorted(self):
        assert names("clips") == ["clips/a.FLAC", "clips/b.wav"]

    def test_recursive_searches_subfolders_except_hidden_ones(self):
        assert names("clips", recursive=True) == [
            "clips/a.FLAC",
            "clips/b.wav",
            "clips/deep/c.mp3",
            "clips/deep/er/d.ogg",
        ]

    def test_named_file_may_have_any_suffix(self):
        assert names("clips/notes.txt") == ["clips/notes.txt"]

    def test_order_of_arguments_is_kept_and_duplicates_dropped(self, folder: Path):
        assert names("clips/b.wav", "clips", str(folder / "clips" / "a.FLAC"), "clips/../clips/b.wav") == [
            "clips/b.wav",
            "clips/a.FLAC",
        ]

    def test_quoted_glob_is_expanded(self):
        assert names("clips/*.wav") == ["clips/b.wav"]
        assert names("clips/**/*.[mo]*", recursive=False) == ["clips/deep/c.mp3", "clips/deep/er/d.ogg"]

    def test_existing_file_with_glob_characters_is_not_expanded(self, folder: Path):
        (folder / "take[1].wav").touch()
        assert names("take[1].wav") == ["take[1].wav"]

    def test_standard_input(self):
        assert names("-", "clips/b.wav", "-") == ["-", "clips/b.wav"]

    def test_missing_arguments_are_reported_and_the_rest_expanded(self):
        found, problems = expand(["nowhere.wav", "clips/none", "clips/*.xyz", "clips/b.wav"])
        assert found == ["clips/b.wav"]
        assert [str(problem) for problem in problems] == [
            "nowhere.wav: no such file or folder; check the path",
            "clips/none: no audio files in this folder; --recursive searches subfolders too",
            "clips/*.xyz: no file matches; check the pattern",
        ]
