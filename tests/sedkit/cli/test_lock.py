"""Only one run at a time reads and writes an output file, its partial results and its journal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

from sedkit.cli import lock
from sedkit.cli.journal import Fingerprint, Journal
from sedkit.cli.lock import Lock
from sedkit.cli.output import FileOutput
from sedkit.errors import OutputError
from sedkit.results import Tag, Tagging
from tests.conftest import make_sound

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process can lock a file twice on Windows")
NAMES = ["a.wav", "b.wav"]
FINGERPRINT = Fingerprint(1, 1)


def run(path: Path, resume: bool) -> FileOutput:
    return FileOutput(path, "csv", "tags", NAMES, {"--format": "csv"}, resume)


def write(output: FileOutput) -> None:
    for name in NAMES:
        if not output.holds(name, FINGERPRINT):
            output.write(Tagging(name, 1.0, (Tag("Dog", None, 0.5),)), FINGERPRINT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The output of a complete run with its journal."""
    with run(tmp_path / "x.csv", resume=True) as output:
        write(output)
        output.complete(keep_journal=True)
    assert sorted(os.listdir(tmp_path)) == ["x.csv", "x.csv.journal"]
    return tmp_path / "x.csv"


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_second_run_is_refused_from_start_to_end(
    path: Path, first: bool, second: bool, monkeypatch: pytest.MonkeyPatch
):
    complete = path.read_bytes()
    attempts = 0

    def refused(*_: object) -> None:
        nonlocal attempts
        before = {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)}
        with pytest.raises(OutputError, match=r"x\.csv: another run is writing it"):
            run(path, second)
        assert {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent)} == before
        attempts += 1

    @contextmanager
    def around(function: str) -> Iterator[None]:
        """Try a second run before and after each call of a function."""
        original = getattr(os, function)

        def replacement(*arguments: object) -> None:
            refused()
            original(*arguments)
            refused()

        with monkeypatch.context() as patch:
            patch.setattr(os, function, replacement)
            yield

    with around("replace"), run(path, first) as output:
        refused()
        write(output)
        refused()
        output.complete(keep_journal=True)
        refused()
    assert attempts > 6
    assert path.read_bytes() == complete
    assert sorted(os.listdir(path.parent)) == ["x.csv", "x.csv.journal"]
    run(path, second).__exit__(None, None, None)


def test_lock_is_released_when_a_run_cannot_start(path: Path):
    path.with_name("x.csv.journal").unlink()
    for _ in range(2):
        with pytest.raises(OutputError, match="journal is missing"):
            run(path, resume=True)
    assert os.listdir(path.parent) == ["x.csv"]


def test_lock_file_of_a_killed_run_is_taken_over(path: Path):
    path.with_name("x.csv.lock").touch()
    run(path, resume=True).__exit__(None, None, None)
    assert not path.with_name("x.csv.lock").exists()


def test_lock_on_a_file_that_was_deleted_meanwhile_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another process releases the lock between the opening and the locking of its file."""
    path, original, deleted = tmp_path / "x.lock", lock.try_lock, []

    def try_lock(descriptor: int) -> bool:
        if len(deleted) < 2:
            path.unlink()
            deleted.append(path)
        if len(deleted) == 1:
            path.touch()  # by a third process
        return original(descriptor)

    monkeypatch.setattr(lock, "try_lock", try_lock)
    held = Lock(path, tmp_path / "x")
    monkeypatch.undo()
    assert os.path.samestat(os.fstat(held.descriptor), path.stat())
    with pytest.raises(OutputError):
        Lock(path, tmp_path / "x")
    held.release()
    assert not path.exists()
    Lock(path, tmp_path / "x").release()


def test_files_are_on_the_disk_before_they_replace_others(path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: set[int] = set()
    fsync, replace = os.fsync, os.replace

    def record(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def check(source: Path, target: Path) -> None:
        assert source.stat().st_ino in synced, source
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(os, "replace", check)
    with run(path, resume=True) as output:
        write(output)
        output.complete(keep_journal=True)
    with run(path, resume=False) as output:
        write(output)
        output.complete(keep_journal=True)
    journal = Journal(path.with_name("x.csv.journal"), {"--format": "csv"})
    journal.load(path, "")
    assert list(journal.entries) == NAMES


def test_simultaneous_fresh_and_resuming_processes_end_with_the_same_bytes(model_path: Path, tmp_path: Path):
    (tmp_path / "clips").mkdir()
    for number in range(5):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", make_sound(1, seed=number), 16000)
    command = [sys.executable, "-m", "sedkit", "tag", "clips", "--model", str(model_path), "--device", "cpu", "-o"]
    subprocess.run([*command, "alone.csv"], cwd=tmp_path, check=True)
    for _ in range(2):
        processes = [
            subprocess.Popen([*command, "x.csv", *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            for options in ([], ["--resume"], [], ["--resume"])
        ]
        for process in processes:
            _, message = process.communicate(timeout=120)
            refusals = ("another run is writing it", "journal is missing")
            assert process.returncode == 0 or any(text in message for text in refusals), message
        assert any(process.returncode == 0 for process in processes)
        assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
        assert set(os.listdir(tmp_path)) <= {"clips", "alone.csv", "x.csv", "x.csv.journal"}
