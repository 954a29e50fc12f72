"""Only one run at a time reads and writes an output file and its journal; a power loss costs little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile

from sedkit.cli import lock
from sedkit.cli.journal import Fingerprint, Journal, fingerprint, sample_of
from sedkit.cli.lock import Lock
from sedkit.cli.rendering import Rendered, Sheet
from sedkit.errors import OutputError
from sedkit.formats import FORMATS
from sedkit.formats.writers import Run
from sedkit.results import Tag, Tagging
from tests.conftest import make_sound

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a process can lock a file twice on Windows")


def names(path: Path) -> list[str]:
    return [str(path.with_name("clips") / name) for name in ("a.wav", "b.wav")]


def run(path: Path, resume: bool) -> Rendered:
    return Rendered([path], {"--threshold": 0.5}, names(path), resume)


def analyse(output: Rendered) -> None:
    for name in output.files:
        now = fingerprint(name)
        if not output.holds(name, now):
            output.add(Tagging(name, 1.0, (Tag("Dog", None, 0.5),)), now)


def render(output: Rendered, keep_journal: bool = True) -> None:
    output.render([Sheet(FORMATS["csv"], Run("tags", output.files, output.output))], {}, keep_journal)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The output of a complete run with its journal."""
    path = tmp_path / "out" / "x.csv"
    (path.with_name("clips")).mkdir(parents=True)
    for name in names(path):
        Path(name).write_bytes(b"sound")
    with run(path, resume=True) as output:
        analyse(output)
        render(output)
    assert sorted(os.listdir(path.parent)) == ["clips", "x.csv", "x.csv.journal"]
    return path


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_second_run_is_refused_from_start_to_end(
    path: Path, first: bool, second: bool, monkeypatch: pytest.MonkeyPatch
):
    complete = path.read_bytes()
    attempts = 0

    def contents() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}

    def refused(*_: object) -> None:
        nonlocal attempts
        before = contents()
        with pytest.raises(OutputError, match=r"x\.csv: another run is writing it"):
            run(path, second)
        assert contents() == before
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

    with around("replace"), around("fsync"), run(path, first) as output:
        refused()
        analyse(output)
        refused()
        render(output)
        refused()
    assert attempts > 8
    assert path.read_bytes() == complete
    assert sorted(os.listdir(path.parent)) == ["clips", "x.csv", "x.csv.journal"]
    run(path, second).__exit__(None, None, None)


def test_lock_is_released_when_a_run_cannot_start(path: Path):
    path.with_name("x.csv.journal").unlink()
    for _ in range(2):
        with pytest.raises(OutputError, match="journal is missing"):
            run(path, resume=True)
    assert sorted(os.listdir(path.parent)) == ["clips", "x.csv"]


def test_all_outputs_of_a_run_are_locked(path: Path):
    both = [path, path.with_name("y.csv")]
    with Rendered(both, {}, names(path), resume=False):
        for other in both:
            with pytest.raises(OutputError, match="another run is writing it"):
                Rendered([path.with_name("a.csv"), other], {}, names(path), resume=False)
        assert not path.with_name("a.csv.lock").exists()
    assert not list(path.parent.glob("*.lock"))


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
    synced: dict[int, int] = {}  # sizes by inode
    fsync, replace = os.fsync, os.replace

    def on_disk(file: Path) -> bool:
        status = file.stat()
        return synced.get(status.st_ino) == status.st_size

    def record(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size
        fsync(descriptor)

    def check(source: Path, target: Path) -> None:
        assert on_disk(source), source
        assert on_disk(path.with_name("x.csv.journal"))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(os, "replace", check)
    for resume in (True, False):
        with run(path, resume) as output:
            analyse(output)
            render(output)
        assert on_disk(path.with_name("x.csv.journal"))
    journal = Journal(path.with_name("x.csv.journal"), {"--threshold": 0.5})
    journal.load(path, names(path))
    assert list(journal.entries) == names(path)


def test_power_loss_before_the_first_record_is_no_loss(path: Path):
    path.unlink()
    journal = path.with_name("x.csv.journal")
    journal.write_bytes(b"")
    with run(path, resume=True) as output:
        analyse(output)
        render(output, keep_journal=False)
    assert path.read_text().count("Dog") == 2
    assert not journal.exists()


def test_file_that_is_no_journal_is_not_continued(path: Path):
    path.with_name("x.csv.journal").write_bytes(b'{"sedkit": "0.1.0"}\n' * 9)
    with pytest.raises(OutputError, match="is not a journal of this version of sedkit; to start over, leave out"):
        run(path, resume=True)


def test_fingerprint_tells_changes_from_copies(tmp_path: Path):
    path = tmp_path / "a.wav"
    for size in (5, 65536, 300_001):
        path.write_bytes(bytes(range(256)) * 1172 + bytes(size))
        before = fingerprint(str(path))
        assert before is not None
        before = before._replace(sample=sample_of(str(path), before.size))
        assert before.matches(str(path), before)
        touched = before._replace(changed=before.changed + 1)
        assert before.matches(str(path), touched)
        assert not before.matches(str(path), touched._replace(modified=0))
        assert not before._replace(sample="").matches(str(path), touched)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        assert not before.matches(str(path), touched)
    assert Fingerprint(*json.loads(json.dumps(before))) == before


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
            refusals = ("another run is writing it", "journal is missing", "holds results of an interrupted run")
            assert process.returncode == 0 or any(text in message for text in refusals), message
        assert any(process.returncode == 0 for process in processes)
        assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
        assert set(os.listdir(tmp_path)) <= {"clips", "alone.csv", "x.csv", "x.csv.journal"}
