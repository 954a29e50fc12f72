"""The archive format (plan, partitions, manifest), resuming, and folders and object stores. Needs no cluster."""

from __future__ import annotations

import errno
import io
import json
import shutil
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sedkit.errors import AudioError, OutputError, SedkitError
from tests.conftest import make_sound

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'sedkit-audio[cluster]'")

from pyarrow import dataset

from sedkit.audio.reading import open_audio
from sedkit.cluster.archive import Archive, divide
from sedkit.cluster.engine import check_answers, check_installed
from sedkit.cluster.partitions import CHANGED, Partition, Report, parse_report, withdraw, write_partition
from sedkit.cluster.recordings import Recording, close_recording, in_files, in_store, open_recording
from sedkit.cluster.storage import Store
from sedkit.cluster.worker import Ledger, open_store

SETTINGS = {"results": "tags", "--threshold": 0.5, "--classes": ["Dog", "Siren"]}
FOLDER = "/recordings"
NAMES = "abcdefg"


def some(*names: str, changed: int = 1) -> list[Recording]:
    return [Recording(name, 100, changed) for name in names]


def finish(
    archive: Archive,
    partition: Partition,
    failing: frozenset[str] = frozenset(),
    score: Callable[[str], float] = lambda file: 0.5,
) -> None:
    """Write a partition as a worker does, with one row per recording."""
    good = [file for file in partition.files if file not in failing]
    columns = {"file": good, "label": ["Dog"] * len(good), "mid": [None] * len(good)}
    columns |= {"onset": [0.0] * len(good), "offset": [1.0] * len(good), "score": [score(file) for file in good]}
    failures = tuple((file, "no sound") for file in partition.files if file in failing)
    lengths = tuple(float(file in good) for file in partition.files)
    report = Report(len(partition.files), sum(lengths), len(good), failures, lengths)
    write_partition(archive.store, partition, columns, report)
    archive.reports[partition.number] = report


def rows(folder: Path) -> list[dict]:
    return dataset.dataset(folder).to_table().to_pylist()


def test_divide_keeps_the_order_and_the_limits():
    recordings = [Recording(str(number), size, 1) for number, size in enumerate([5, 1, 9, 30, 1, 1, 1, 1])]
    assert list(divide(recordings, 3)) == [("0", "1", "2"), ("3",), ("4", "5", "6"), ("7",)]
    many = list(divide(some(*map(str, range(2500))), 1))
    assert [len(partition) for partition in many] == [1000, 1000, 500]
    long = [Recording(str(number), 400 << 20, 1) for number in range(5)]
    assert [len(partition) for partition in divide(long, 1)] == [3, 2]
    assert list(divide([Recording("0", 90, 1), *some("1", "2", "3")], 4)) == [("0",), ("1",), ("2",), ("3",)]


def test_archive_reads_as_a_parquet_dataset(tmp_path: Path):
    archive = Archive(Store(str(tmp_path)), SETTINGS, resume=False)
    partitions = archive.plan(some(*"abcdefghij"), FOLDER, workers=1)
    assert [partition.files for partition in partitions] == [tuple("abc"), tuple("def"), tuple("ghi"), ("j",)]
    for partition in reversed(partitions):
        finish(archive, partition, frozenset("e"))
    archive.save()
    assert archive.save_failures() == [("e", "no sound")]
    assert [row["file"] for row in rows(tmp_path)] == list("abcdfghij")
    assert rows(tmp_path)[0] == {"file": "a", "label": "Dog", "mid": None, "onset": 0.0, "offset": 1.0, "score": 0.5}
    assert json.loads((tmp_path / "_sedkit" / "failures.jsonl").read_text()) == {"file": "e", "error": "no sound"}
    manifest = json.loads((tmp_path / "_sedkit" / "manifest.json").read_text())
    assert manifest["settings"] == SETTINGS
    assert manifest["complete"]
    assert manifest["planned"] == {"partitions": 4, "recordings": 10}
    assert manifest["partitions"][1] == {
        "name": "part-000001.parquet",
        "recordings": 3,
        "seconds": 2.0,
        "rows": 2,
        "failures": 1,
    }


run = st.fixed_dictionaries(
    {
        "given": st.sets(st.sampled_from(NAMES), min_size=1),
        "changed": st.sets(st.sampled_from(NAMES), max_size=2),
        "failing": st.frozensets(st.sampled_from(NAMES), max_size=3),
        "done": st.lists(st.booleans(), min_size=4, max_size=4),  # the run is interrupted after the fourth
        "workers": st.integers(1, 3),
    }
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(run, min_size=1, max_size=4))
@pytest.mark.slow
def test_interrupted_and_resumed_runs_give_one_current_row_per_recording(tmp_path: Path, runs: list[dict]):
    folder = tmp_path / "archive"
    shutil.rmtree(folder, ignore_errors=True)
    versions = dict.fromkeys(NAMES, 1)
    given_so_far: set[str] = set()
    for part in [*runs, {"given": None, "changed": set(), "failing": frozenset(), "done": None, "workers": 1}]:
        given_so_far |= part["given"] or set()
        for name in part["changed"]:
            versions[name] += 1
        archive = Archive(Store(str(folder)), SETTINGS, resume=True)
        recordings = [Recording(name, 100, versions[name]) for name in sorted(part["given"] or given_so_far)]
        partitions = archive.plan(recordings, FOLDER, part["workers"])
        done = part["done"] or [True] * len(partitions)
        for partition, finished in zip(partitions, done, strict=False):
            if finished:
                finish(archive, partition, part["failing"], score=lambda file: float(versions[file]))
    assert archive.failures() == []
    assert sorted((row["file"], row["score"]) for row in rows(folder)) == [
        (name, versions[name]) for name in sorted(given_so_far)
    ]
    assert Archive(Store(str(folder)), SETTINGS, resume=True).plan(recordings, FOLDER, 1) == []


def test_resume_plans_changed_and_failed_recordings_only(tmp_path: Path):
    archive = Archive(Store(str(tmp_path)), SETTINGS, resume=False)
    for partition in archive.plan(some("a", "b", "c", "d", "e", "f", "g", "h"), FOLDER, workers=1):
        finish(archive, partition, frozenset("b"))
    again = Archive(archive.store, SETTINGS, resume=True)
    changed = [*some("a", "b"), *some("/recordings/d", changed=2), *some("e", "f", "g", "h")]
    new = [Partition(4, FOLDER, ("b",)), Partition(5, FOLDER, ("/recordings/d",))]
    assert again.plan(changed, FOLDER, workers=1) == new


def test_seconds_are_those_of_current_results(tmp_path: Path):
    recordings = some("a", "b", "c")
    archive = Archive(Store(str(tmp_path)), SETTINGS, resume=False)
    for partition in archive.plan(recordings, FOLDER, workers=1):
        finish(archive, partition, failing=frozenset("c"))
    archive.save()
    for changed in (2, 3):
        archive = Archive(Store(str(tmp_path)), SETTINGS, resume=True)
        for partition in archive.plan([recordings[0], *some("b", changed=changed), recordings[2]], FOLDER, workers=1):
            finish(archive, partition)
        archive.save()
        parts = json.loads((tmp_path / "_sedkit" / "manifest.json").read_text())["partitions"]
        assert sum(part["seconds"] for part in parts) == 3.0


def test_a_report_of_an_earlier_version_keeps_its_seconds(tmp_path: Path):
    store, partition = Store(str(tmp_path)), Partition(0, FOLDER, ("a", "b"))
    columns = {"file": ["a", "b"], "label": ["Dog"] * 2, "mid": [None] * 2, "onset": [0.0] * 2, "offset": [1.0] * 2}
    write_partition(store, partition, columns | {"score": [0.5] * 2}, Report(2, 2.0, 2, ()))
    assert parse_report('{"recordings": 2, "seconds": 2.0, "rows": 2, "failures": []}') == Report(2, 2.0, 2, ())
    assert withdraw(store, partition, Report(2, 2.0, 2, ()), {"b"}) == Report(2, 2.0, 1, (("b", CHANGED),))


def test_rows_of_recordings_that_no_longer_exist_are_kept(tmp_path: Path):
    store = Store(str(tmp_path))
    first = Archive(store, SETTINGS, resume=False)
    (partition,) = first.plan(some("a", "b"), FOLDER, workers=0.25)
    finish(first, partition)
    second = Archive(store, SETTINGS, resume=True)
    (again,) = second.plan(some("b", changed=2), FOLDER, workers=0.25)  # a is gone
    assert again == Partition(1, FOLDER, ("b",))
    assert [row["file"] for row in rows(tmp_path)] == ["a"]  # as an interrupted run leaves it
    finish(second, again, score=lambda file: 0.75)
    assert [(row["file"], row["score"]) for row in rows(tmp_path)] == [("a", 0.5), ("b", 0.75)]
    assert second.save_failures() == []
    third = Archive(store, SETTINGS, resume=True)
    assert third.plan(some("b", changed=2), FOLDER, workers=0.25) == []
    assert third.reports[0] == Report(2, 1.0, 1, (("b", CHANGED),), (1.0, 0.0))


def test_a_run_that_ends_before_its_plan_is_written_withdraws_the_same_rows_again(tmp_path: Path):
    store = Store(str(tmp_path))
    first = Archive(store, SETTINGS, resume=False)
    (partition,) = first.plan(some("a", "b"), FOLDER, workers=0.25)
    finish(first, partition)
    first.reports[0] = withdraw(store, partition, first.reports[0], {"b"})
    again = Archive(store, SETTINGS, resume=True)
    assert again.failures() == [("b", CHANGED)]
    assert again.plan(some("a", "b", changed=2), FOLDER, workers=0.25) == [Partition(1, FOLDER, ("a", "b"))]
    (tmp_path / partition.name).write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"part-000000.parquet is damaged \(.*\); delete it, then --resume"):
        withdraw(store, partition, first.reports[0], {"a"})


def test_a_resumed_run_lists_failures_of_its_own_recordings(tmp_path: Path):
    store = Store(str(tmp_path))
    first = Archive(store, SETTINGS, False)
    for partition in first.plan(some("a", "b", "c"), FOLDER, workers=1):
        finish(first, partition, frozenset("abc"))
    assert [file for file, _ in first.save_failures()] == ["a", "b", "c"]
    second = Archive(store, SETTINGS, True)
    for partition in second.plan(some("a", f"{FOLDER}/b"), FOLDER, workers=1):  # c is gone
        finish(second, partition, frozenset([f"{FOLDER}/b"]))
    assert second.save_failures() == [(f"{FOLDER}/b", "no sound")]


def test_relative_names_are_resolved_in_the_folder_of_the_run(tmp_path: Path):
    archive = Archive(Store(str(tmp_path)), SETTINGS, resume=False)
    (partition,) = archive.plan(some("sub/../a.wav", "s3://bucket/b.wav"), FOLDER, workers=0.25)
    assert [partition.locate(file) for file in partition.files] == ["/recordings/a.wav", "s3://bucket/b.wav"]
    finish(archive, partition)
    again = Archive(archive.store, SETTINGS, resume=True)
    assert again.plan(some("../recordings/a.wav", "s3://bucket/b.wav"), "/elsewhere", workers=1) == []


def test_name_that_is_not_utf8_fails_alone(tmp_path: Path):
    archive = Archive(Store(str(tmp_path)), SETTINGS, resume=False)
    (partition,) = archive.plan(some("a", "b\udcff"), FOLDER, workers=1)
    finish(archive, partition)
    ((file, why),) = archive.save_failures()
    assert file == "b\udcff"
    assert "not UTF-8" in why
    assert json.loads((tmp_path / "_sedkit" / "failures.jsonl").read_text())["file"] == "b\udcff"


def test_existing_results_and_other_settings_are_refused(tmp_path: Path):
    store = Store(str(tmp_path))
    Archive(store, SETTINGS, resume=False)
    archive = Archive(store, SETTINGS, resume=False)  # allowed, since nothing has been planned
    finish(archive, archive.plan(some("a"), FOLDER, 1)[0])
    with pytest.raises(OutputError, match="holds results already; continue them with --resume, or choose another"):
        Archive(store, SETTINGS, resume=False)
    with pytest.raises(OutputError, match=r"the earlier run used --threshold 0.5, this one uses no --threshold"):
        Archive(store, SETTINGS | {"--threshold": None}, resume=True)
    with pytest.raises(OutputError, match="the earlier run used --classes Dog, Siren, this one uses --classes Dog;"):
        Archive(store, SETTINGS | {"--classes": ["Dog"]}, resume=True)
    shutil.rmtree(tmp_path / "_sedkit")
    with pytest.raises(OutputError, match="holds results already; choose another --output"):
        Archive(store, SETTINGS, resume=True)


def test_damaged_files_are_named(tmp_path: Path):
    store = Store(str(tmp_path))
    archive = Archive(store, SETTINGS, resume=False)
    partitions = archive.plan(some(*"abcd"), FOLDER, 1)
    for partition in partitions:
        finish(archive, partition)
    (tmp_path / "part-000001.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match=r"part-000001.parquet is damaged \(.*\); delete it, then --resume"):
        Archive(store, SETTINGS, resume=True)
    (tmp_path / "part-000001.parquet").unlink()
    assert Archive(store, SETTINGS, resume=True).plan([], FOLDER, 1) == [partitions[1]]
    (tmp_path / "_sedkit" / "plan.parquet").write_bytes(b"no")
    with pytest.raises(OutputError, match=r"plan.parquet is damaged"):
        Archive(store, SETTINGS, resume=True)
    for text, reason in [
        ("{", "is damaged"),
        ('{"version": 1}', "is damaged"),
        ('{"version": 2, "settings": {}}', "2"),
    ]:
        (tmp_path / "_sedkit" / "manifest.json").write_text(text)
        with pytest.raises(OutputError, match=reason):
            Archive(store, SETTINGS, resume=True)


def test_store_writes_atomically(tmp_path: Path):
    store = Store(str(tmp_path / "new" / "archive"))
    assert store.read("a/b") is None
    assert store.names() == []
    store.write("a/b", b"1")
    store.write("a/b", b"22")
    assert store.read("a/b") == b"22"
    (tmp_path / "new" / "archive" / "folder").mkdir()
    with pytest.raises(OutputError, match=r"archive: folder cannot be written: Is a directory|Directory not empty"):
        store.write("folder", b"3")
    assert sorted(path.name for path in store_files(tmp_path)) == ["b"]


def store_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_locations_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: is a file; name a folder"):
        Store(str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be read: Not a directory"):
        Archive(Store(str(tmp_path / "file" / "below")), SETTINGS, resume=False)
    with pytest.raises(OutputError, match=r"foo://bar: cannot be reached: .*foo"):
        Store("foo://bar")
    with pytest.raises(OutputError, match=f"does not exist on the machine {socket.gethostname()}; choose an --output"):
        open_store(str(tmp_path / "mine"))


def test_find_and_read_recordings_in_a_store(tmp_path: Path):
    folder = tmp_path / "50% & more"
    (folder / "below").mkdir(parents=True)
    sound = make_sound(1.5, seed=1)
    for name in ("b #1?.wav", "a.flac", "below/c.wav", ".hidden.wav"):
        soundfile.write(folder / name, sound, 16000)
    (folder / "notes.txt").write_text("")
    uri = f"file://{tmp_path}/50%25 & more"
    found = in_store(uri, frozenset([".wav", ".flac"]), recursive=False)
    assert [recording.file for recording in found] == [f"{uri}/a.flac", f"{uri}/b%20%231%3F.wav"]
    assert found[1][1:] == in_files([str(folder / "b #1?.wav")])[0][1:]
    assert len(in_store(uri, frozenset([".wav"]), recursive=True)) == 2
    assert in_store(f"{uri}/notes.txt", frozenset(), recursive=False)[0].file == f"{uri}/notes.txt"
    for recording in found:
        source = open_recording(recording.file)
        with open_audio(source) as stream:
            assert sum(map(len, stream)) == len(sound)
        assert stream.name == recording.file
        assert close_recording(source) is None


def test_missing_recordings_in_a_store(tmp_path: Path):
    uri = f"file://{tmp_path}"
    with pytest.raises(AudioError, match="no audio files in this folder; --recursive"):
        in_store(uri, frozenset([".wav"]), recursive=False)
    with pytest.raises(AudioError, match=r"none: no such object or folder; check the address"):
        in_store(f"{uri}/none", frozenset([".wav"]), recursive=False)
    with pytest.raises(AudioError, match=r"foo://bar: cannot be read: .*foo"):
        in_store("foo://bar", frozenset([".wav"]), recursive=False)
    source = open_recording(f"{uri}/gone.wav")
    with pytest.raises(AudioError, match=r"gone.wav: no such object; check the address"):
        list(open_audio(source))
    assert close_recording(source) is None
    assert in_files([str(tmp_path / "gone.wav")]) == [Recording(str(tmp_path / "gone.wav"), 0, 0)]


class FailingFile:
    """A remote file whose reads fail from a position on."""

    def __init__(self, file, fails_at: int) -> None:
        self.file, self.fails_at = file, fails_at
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def readinto(self, buffer) -> int:
        if self.tell() >= self.fails_at:
            raise OSError(errno.EIO, "gone")
        return self.file.readinto(buffer)


def test_failed_read_is_not_taken_for_the_end_of_a_recording(tmp_path: Path):
    soundfile.write(tmp_path / "long.wav", make_sound(90), 16000)
    source = open_recording(f"file://{tmp_path}/long.wav")
    assert isinstance(source, io.BufferedReader)
    source.raw.file = FailingFile(source.raw.file, 1 << 20)
    with open_audio(source) as stream, suppress(AudioError):
        assert sum(map(len, stream)) < 80 * 16000
    assert close_recording(source) == "Input/output error"


def test_ledger_skips_a_recording_that_crashed_two_workers():
    ledger = Ledger()
    assert ledger.begin(1) == (False, set())
    assert ledger.begin(1) == (True, set())  # its worker died at an unknown recording
    ledger.note(1, "a")
    ledger.note(1, "b")
    assert ledger.begin(1) == (True, {"b"})
    ledger.note(1, "c")
    ledger.end(1)
    assert ledger.begin(1) == (True, {"b"})  # repeated because its report was lost
    assert ledger.begin(2) == (False, set())


def test_missing_package_error_has_the_install_command(monkeypatch: pytest.MonkeyPatch):
    for name in ("ray", "pyarrow"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, name, None)
            with pytest.raises(SedkitError, match=rf"--engine ray needs {name}.*pip install 'sedkit-audio\[cluster\]'"):
                check_installed()


def test_address_without_a_cluster_is_refused():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(SedkitError, match=rf"127.0.0.1:{port}: no Ray cluster answers \(.*refused"):
            check_answers(f"127.0.0.1:{port}")
        listener.listen()
        check_answers(f"ray://127.0.0.1:{port}")
    check_answers("auto")
