"""Expansion of command-line arguments to recordings: files, folders, globs."""

from __future__ import annotations

import errno
import glob
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner

from sedkit.audio.files import AUDIO_SUFFIXES
from sedkit.cli import main
from sedkit.cli.inputs import expand
from tests.conftest import make_sound

posix = pytest.mark.skipif(os.name != "posix", reason="needs named pipes, sockets and users")


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


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Give up the rights of root, if the tests run as root; file permissions would not apply otherwise."""
    root = os.geteuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)  # the real user, too, whom os.access asks about
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)


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
        suffixes = " ".join(sorted(AUDIO_SUFFIXES))
        assert [str(problem) for problem in problems] == [
            "nowhere.wav: no such file or folder; check the path",
            f"clips/none: no audio files in this folder (names ending in {suffixes})"
            "; --recursive searches subfolders too",
            "clips/*.xyz: no file matches; check the pattern",
        ]

    @posix
    def test_pipes_sockets_and_devices_are_skipped_and_reported(self, folder: Path):
        os.mkfifo(folder / "clips" / "pipe.wav")
        (folder / "clips" / "device.wav").symlink_to(os.devnull)
        (folder / "clips" / "folder.wav").mkdir()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("clips/socket.wav")
            for argument in ("clips", "clips/*"):
                found, problems = expand([argument])
                assert {name for name in found if name.endswith(("c", "C", "wav"))} == {"clips/a.FLAC", "clips/b.wav"}
                assert sorted(map(str, problems)) == [
                    f"clips/{name}.wav: skipped, because it is not a regular file; name it to read from it"
                    for name in ("device", "pipe", "socket")
                ]
        assert names("clips/pipe.wav") == ["clips/pipe.wav"]

    @posix
    def test_unreadable_subfolder_is_reported(self, folder: Path):
        for parent in (folder, *folder.rglob("*")):
            parent.chmod(0o755)
        (folder / "clips" / "deep" / "er").chmod(0)
        for argument in ("clips", "clips/**/*.[wFmo]*", "clips/**"):
            with ordinary_user():
                found, problems = expand([argument], recursive=True)
            assert [name for name in found if not name.endswith(".txt")] == [
                "clips/a.FLAC",
                "clips/b.wav",
                "clips/deep/c.mp3",
            ]
            (line,) = map(str, problems)
            assert line == "clips/deep/er: this folder cannot be read: Permission denied; check its permissions"

    @posix
    def test_links_are_followed_once_and_circles_end(self, folder: Path):
        for link, target in (
            ("clips/deep/circle", ".."),
            ("clips/above", folder),
            ("clips/self.wav", "self.wav"),
            ("clips/nowhere.wav", "gone.wav"),
            ("clips/a", folder / "elsewhere"),
            ("clips/b", folder / "elsewhere"),
            ("elsewhere/er", folder / "clips" / "deep" / "er"),
        ):
            (folder / link).parent.mkdir(exist_ok=True)
            (folder / link).symlink_to(target)
        (folder / "elsewhere" / "f.wav").touch()
        assert names("clips", recursive=True) == [
            "clips/a.FLAC",
            "clips/a/f.wav",
            "clips/b.wav",
            "clips/deep/c.mp3",
            "clips/deep/er/d.ogg",
            "clips/nowhere.wav",
            "clips/self.wav",
        ]
        assert names("clips/**/*.[mof]*") == ["clips/deep/c.mp3", "clips/deep/er/d.ogg"]
        (folder / "clips" / "deep" / "circle2").symlink_to("..")  # with two circles, the paths double at each level
        assert names("**/f.wav") == ["elsewhere/f.wav"]

    @pytest.mark.parametrize(
        "pattern",
        [
            "*",
            "*/*",
            "**",
            "**/*",
            "**/*.wav",
            "*/deep/*",
            "*/deep/c.mp3",
            "clips/**/er/*",
            "**/deep/**/*.ogg",
            "./cl?ps/*",
            "clips/../*/b.wav",
            "*//b.wav",
            "clips/*/",
            "clips/.h*/*",
            "[c]lips/[!b].*",
            "**/**/d.ogg",
            "nowhere/*",
            "clips/b.wav/*",
        ],
    )
    def test_globs_match_what_the_standard_library_matches(self, pattern: str):
        expected = sorted({name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name)})
        assert expand([pattern])[0] == [os.path.normpath(name) if "//" in pattern else name for name in expected]


def test_unreadable_subfolder_is_a_failure_of_the_run(folder: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch):
    original = os.scandir

    def scandir(path="."):
        if str(path).endswith("er"):
            raise OSError(errno.EIO, "Input/output error")
        return original(path)

    monkeypatch.setattr("os.scandir", scandir)
    for name in ("a.FLAC", "b.wav", "deep/c.mp3", "deep/er/d.ogg"):
        soundfile.write(folder / "clips" / name, make_sound(1), 16000)
    options = ["--recursive", "--model", str(model_path), "--device", "cpu"]
    result = CliRunner().invoke(main, ["tag", "clips", *options])
    assert result.exit_code == 1
    assert {line.split("\t")[0] for line in result.stdout.splitlines()[1:]} == {
        os.path.join("clips", name) for name in ("a.FLAC", "b.wav", os.path.join("deep", "c.mp3"))
    }
    line, total = result.stderr.splitlines()
    assert line.startswith(f"sedkit: error: {os.path.join('clips', 'deep', 'er')}: this folder cannot be read: ")
    assert total == "sedkit: 1 of 4 failed"


def test_audio_suffixes_are_documented():
    page = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    section = page.partition("## Folders\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\.\w+)`", section)) == set(AUDIO_SUFFIXES)
