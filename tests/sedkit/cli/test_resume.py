"""``--resume``: a run that was interrupted, or whose files changed, ends with the bytes of an uninterrupted run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from sedkit.cli.journal import Journal
from sedkit.formats import FORMATS
from tests.conftest import make_sound

COMMAND = [sys.executable, "-m", "sedkit"]
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
COUNT = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of several lengths and, between them, a file that is not audio."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(COUNT):
        soundfile.write(folder / f"{number}.wav", make_sound((1, 2.5, 1)[number % 3], seed=number), 16000)
    (folder / "3x.wav").write_bytes(b"RIFF but no audio")
    return folder


@pytest.fixture
def sedkit(model_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command in this process."""
    monkeypatch.setenv("SEDKIT_DEBUG", "1")

    def run(command: str, *arguments: str | Path) -> Result:
        options = ["--model", str(model_path), "--device", "cpu"]
        result = CliRunner().invoke(main, [command, *options, *map(str, arguments)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


class Archive:
    """801 recordings, most of them links, one of them broken; runs the command on them as a process."""

    count = 800

    def __init__(self, folder: Path, model: Path) -> None:
        self.clips, self.output = folder / "clips", folder / "out"
        self.clips.mkdir()
        self.output.mkdir()
        self.model = model
        for number in range(4):
            soundfile.write(folder / f"{number}.wav", make_sound((0.5, 2, 0.5, 35)[number], seed=number), 16000)
        for number in range(self.count):
            kind = 3 if number % 400 == 5 else number % 3
            (self.clips / f"{number:04}.wav").symlink_to(folder / f"{kind}.wav")
        (self.clips / "0100.ogg").write_bytes(b"OggS but no audio")

    def start(self, name: str, *options: str) -> subprocess.Popen[str]:
        arguments = ["timeline", self.clips, "-t", "0.4", "--model", self.model, "--output", self.output / name]
        return subprocess.Popen([*COMMAND, *map(str, arguments), *options], stderr=subprocess.PIPE, text=True)

    def finish(self, name: str, *options: str) -> tuple[int, list[str]]:
        process = self.start(name, *options)
        _, message = process.communicate()
        return process.returncode, message.splitlines()

    def interrupt(self, name: str, *options: str, size: int = 1, how: int = signal.SIGKILL) -> tuple[int, list[str]]:
        """Send a signal as soon as the journal is larger than ``size`` bytes."""
        journal = self.output / f"{name}.journal"
        process = self.start(name, *options)
        while not (journal.exists() and journal.stat().st_size > size) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(how)
        _, message = process.communicate()
        return process.returncode, message.splitlines()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, model_path: Path) -> Archive:
    return Archive(tmp_path_factory.mktemp("archive"), model_path)


@pytest.fixture(scope="module")
def uninterrupted(archive: Archive) -> bytes:
    """The output of an uninterrupted run."""
    code, message = archive.finish("uninterrupted.csv")
    assert (code, message[-1]) == (1, f"sedkit: 1 of {archive.count + 1} failed")
    return (archive.output / "uninterrupted.csv").read_bytes()


def results_in(journal: Path) -> list[str]:
    """The recordings whose results a journal holds, once for each time."""
    return [head["file"] for _, head in Journal(journal, {}).records() if "file" in head]


@pytest.fixture(scope="module")
def journal_size(archive: Archive) -> int:
    """Bytes of the journal of a complete run."""
    archive.finish("size.csv", "--resume")
    return (archive.output / "size.csv.journal").stat().st_size


@posix
def test_resume_after_two_kills_and_a_torn_record_gives_the_same_bytes(
    archive: Archive, uninterrupted: bytes, journal_size: int
):
    journal = archive.output / "x.csv.journal"
    assert archive.interrupt("x.csv", size=journal_size // 4)[0] == -signal.SIGKILL
    before = results_in(journal)
    with open(journal, "r+b") as file:
        file.truncate(journal.stat().st_size - 7)
    assert results_in(journal) == before[:-1]
    assert archive.interrupt("x.csv", "--resume", size=journal_size // 2)[0] == -signal.SIGKILL
    done = len(results_in(journal))
    assert 0 < len(before) < done < archive.count
    code, message = archive.finish("x.csv", "--resume")
    assert code == 1
    assert message[0] == f"sedkit: {done} of {archive.count + 1} recordings were already done"
    assert message[-1] == f"sedkit: 1 of {archive.count + 1} failed"
    assert (archive.output / "x.csv").read_bytes() == uninterrupted


@posix
def test_ctrl_c_keeps_results_and_suggests_resume(archive: Archive, uninterrupted: bytes, journal_size: int):
    (archive.output / "y.csv").write_text("from an earlier run")
    journal = archive.output / "y.csv.journal"
    code, message = archive.interrupt("y.csv", size=journal_size // 3, how=signal.SIGINT)
    assert code == 130
    assert (archive.output / "y.csv").read_text() == "from an earlier run"
    kept = journal.read_bytes()
    done = len(results_in(journal))
    notices = [  # the interruption may come between writing a result and counting it
        f"sedkit: {count} of {archive.count + 1} results are in {journal}; --resume continues from there"
        for count in (done - 1, done)
    ]
    assert message[0] in notices
    assert message[-1] == "sedkit: interrupted"
    code, message = archive.finish("y.csv")
    assert code == 1
    assert message[0].endswith("continue with --resume, or delete it to start over")
    assert journal.read_bytes() == kept
    assert archive.finish("y.csv", "--resume")[0] == 1
    assert (archive.output / "y.csv").read_bytes() == uninterrupted


@posix
@pytest.mark.slow
def test_resume_after_a_full_disk(archive: Archive, journal_size: int):
    import resource

    limit = journal_size // 2

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    arguments = ["timeline", archive.clips, "-t", "0.4", "--model", archive.model, "-o", archive.output / "x.jsonl"]
    command = [*COMMAND, *map(str, arguments)]
    result = subprocess.run(command, preexec_fn=limit_file_size, capture_output=True, text=True)
    assert result.returncode == 1
    assert "results are in" in result.stderr
    assert "x.jsonl.journal: cannot be written: File too large" in result.stderr
    assert not (archive.output / "x.jsonl").exists()
    assert archive.finish("x.jsonl", "--resume")[0] == 1
    lines = (archive.output / "x.jsonl").read_text().splitlines()
    assert len(lines) == archive.count
    assert all(json.loads(line)["seconds"] for line in lines)


@posix
def test_a_full_disk_while_rendering_loses_nothing(archive: Archive, uninterrupted: bytes, journal_size: int):
    """The journal is there already, and only the output is too large."""
    shutil.copy(archive.output / "size.csv.journal", archive.output / "w.csv.journal")
    import resource

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal_size, journal_size))

    arguments = ["timeline", archive.clips, "-t", "0.4", "--model", archive.model, "--resume"]
    for name in ("w.csv", "w.jsonl"):
        arguments += ["-o", archive.output / name]
    (archive.output / "w.csv").write_text("old")
    result = subprocess.run(
        [*COMMAND, *map(str, arguments)], preexec_fn=limit_file_size, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "w.jsonl: cannot be written: File too large" in result.stderr
    assert (archive.output / "w.csv").read_text() == "old"
    assert sorted(path.name for path in archive.output.glob("w.*")) == ["w.csv", "w.csv.journal"]
    assert archive.finish("w.csv", "--resume")[0] == 1
    assert (archive.output / "w.csv").read_bytes() == uninterrupted


@posix
def test_second_run_with_the_same_output_is_refused(archive: Archive):
    with archive.start("z.csv") as first:
        while not (archive.output / "z.csv.journal").exists() and first.poll() is None:
            time.sleep(0.005)
        code, message = archive.finish("z.csv", "--resume")
        assert code == 1
        assert "another run is writing it" in message[0]
        first.kill()


class TestChangesBeforeResume:
    """A run ends with a failure, something changes, then ``--resume``."""

    @pytest.fixture
    def output(self, sedkit, folder: Path, tmp_path: Path) -> Path:
        output = tmp_path / "x.csv"
        result = sedkit("timeline", folder, "-t", "0.4", "-o", output)
        assert result.exit_code == 1
        assert (tmp_path / "x.csv.journal").exists()
        return output

    def check(self, sedkit, folder: Path, output: Path, reused: int, code: int = 0) -> None:
        """``--resume`` reuses this many results, and ends with the bytes of a fresh run."""
        result = sedkit("timeline", folder, "-t", "0.4", "-o", output, "--resume")
        assert result.exit_code == code
        assert result.stderr.splitlines()[0].startswith(f"sedkit: {reused} of ")
        fresh = output.with_name("fresh.csv")
        assert sedkit("timeline", folder, "-t", "0.4", "-o", fresh).exit_code == code
        assert output.read_bytes() == fresh.read_bytes()
        again = sedkit("timeline", folder, "-t", "0.4", "-o", output, "--resume")
        assert again.exit_code == code
        assert again.stderr.splitlines()[0].split()[1] == str(len(list(folder.iterdir())) - code)
        assert output.read_bytes() == fresh.read_bytes()

    def test_no_change(self, sedkit, folder: Path, output: Path):
        self.check(sedkit, folder, output, COUNT, code=1)

    def test_failed_recording_was_repaired(self, sedkit, folder: Path, output: Path):
        soundfile.write(folder / "3x.wav", make_sound(2, seed=99), 16000)
        self.check(sedkit, folder, output, COUNT)

    def test_recording_changed(self, sedkit, folder: Path, output: Path):
        soundfile.write(folder / "2.wav", make_sound(2, seed=99), 16000)
        self.check(sedkit, folder, output, COUNT - 1, code=1)

    def test_recording_changed_with_the_same_size(self, sedkit, folder: Path, output: Path):
        soundfile.write(folder / "5.wav", make_sound(1, seed=99), 16000)
        status = (folder / "5.wav").stat()
        os.utime(folder / "5.wav", ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
        self.check(sedkit, folder, output, COUNT - 1, code=1)

    def test_recording_became_unreadable(self, sedkit, folder: Path, output: Path):
        (folder / "3x.wav").unlink()
        (folder / "4.wav").write_bytes(b"RIFF but no audio")
        self.check(sedkit, folder, output, COUNT - 1, code=1)

    def test_recordings_were_added_and_removed(self, sedkit, folder: Path, output: Path):
        (folder / "3x.wav").unlink()
        (folder / "4.wav").unlink()
        shutil.copy(folder / "0.wav", folder / "00.wav")
        shutil.copy(folder / "1.wav", folder / "9.wav")
        self.check(sedkit, folder, output, COUNT - 1)

    def test_recording_was_replaced_by_one_with_the_same_size_and_time(self, sedkit, folder: Path, output: Path):
        """As by ``cp -p``."""
        status = (folder / "5.wav").stat()
        soundfile.write(folder / "5.wav", make_sound(1, seed=99), 16000)
        os.utime(folder / "5.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
        assert (folder / "5.wav").stat().st_size == status.st_size
        self.check(sedkit, folder, output, COUNT - 1, code=1)

    def test_recording_was_copied_to_another_disk(self, sedkit, folder: Path, output: Path):
        status = (folder / "5.wav").stat()
        shutil.copy2(folder / "5.wav", folder / "copy")
        os.replace(folder / "copy", folder / "5.wav")
        assert (folder / "5.wav").stat().st_ino != status.st_ino
        self.check(sedkit, folder, output, COUNT, code=1)

    def test_output_was_edited_or_deleted(self, sedkit, folder: Path, output: Path):
        output.write_text("edited")
        self.check(sedkit, folder, output, COUNT, code=1)
        output.unlink()
        self.check(sedkit, folder, output, COUNT, code=1)

    def test_journal_was_truncated(self, sedkit, folder: Path, output: Path):
        journal = output.with_name("x.csv.journal")
        end = list(Journal(journal, {}).records())[-1][0]
        assert end == 0  # the record that completes it
        os.truncate(journal, journal.stat().st_size - 60)
        self.check(sedkit, folder, output, COUNT - 1, code=1)

    def test_another_format_is_written_without_analysing_again(self, sedkit, folder: Path, output: Path):
        options = ["-t", "0.4", "--resume", "-o", output]
        result = sedkit("timeline", folder, *options, "-o", output.with_name("x.json"))
        assert result.stderr.splitlines()[0] == f"sedkit: {COUNT} of {COUNT + 1} recordings were already done"
        assert sedkit("timeline", folder, "-t", "0.4", "-o", output.with_name("fresh.json")).exit_code == 1
        assert output.with_name("x.json").read_bytes() == output.with_name("fresh.json").read_bytes()

    def test_other_options_are_refused(self, sedkit, folder: Path, output: Path):
        before = output.read_bytes()
        for options, difference in (
            (["-t", "0.5"], "the earlier run used --threshold 0.4, this one uses --threshold 0.5"),
            (["-t", "0.4", "-c", "Dog"], "the earlier run used no --classes, this one uses --classes Dog"),
            (["-t", "0.4", "--channel", "1"], "the earlier run used --channel mix, this one uses --channel 1"),
        ):
            result = sedkit("timeline", folder, *options, "-o", output, "--resume")
            (line, *_) = result.stderr.splitlines()
            assert result.exit_code == 1
            assert line.startswith(f"sedkit: error: {output}: {difference}; to start over, leave out --resume")
        assert output.read_bytes() == before

    def test_leaving_out_an_existing_recording_is_refused(self, sedkit, folder: Path, output: Path):
        before = output.read_bytes()
        result = sedkit("timeline", folder / "0.wav", "-t", "0.4", "-o", output, "--resume")
        assert result.exit_code == 1
        assert f"holds results of {folder / '1.wav'}, which is not given now" in result.stderr
        assert output.read_bytes() == before

    def test_missing_journal_is_refused(self, sedkit, folder: Path, output: Path):
        output.with_name("x.csv.journal").unlink()
        result = sedkit("timeline", folder, "-t", "0.4", "-o", output, "--resume")
        assert result.exit_code == 1
        assert "x.csv.journal is missing; leave out --resume to start over" in result.stderr

    def test_run_without_resume_starts_over(self, sedkit, folder: Path, output: Path):
        (folder / "3x.wav").unlink()
        assert sedkit("timeline", folder, "-t", "1", "-o", output).exit_code == 0
        assert output.read_text() == "file,onset,offset,label,mid,score\n"
        assert not output.with_name("x.csv.journal").exists()


def test_resumed_file_has_one_byte_order_mark(sedkit, folder: Path, tmp_path: Path):
    output, options = tmp_path / "x.csv", ["-t", "0.4", "--bom"]
    assert sedkit("timeline", folder, *options, "-o", output).exit_code == 1
    soundfile.write(folder / "3x.wav", make_sound(2, seed=99), 16000)
    for _ in range(2):
        assert sedkit("timeline", folder, *options, "-o", output, "--resume").exit_code == 0
        assert sedkit("timeline", folder, *options, "-o", tmp_path / "fresh.csv").exit_code == 0
        assert output.read_bytes() == (tmp_path / "fresh.csv").read_bytes()
        assert output.read_bytes().count(b"\xef\xbb\xbf") == 1


def test_recording_without_rows_is_not_analysed_again(sedkit, folder: Path, tmp_path: Path):
    for _ in range(2):
        result = sedkit("timeline", folder, "-t", "1", "-o", tmp_path / "x.tsv", "--resume")
        assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == f"sedkit: {COUNT} of {COUNT + 1} recordings were already done"
    assert (tmp_path / "x.tsv").read_text() == "file\tonset\toffset\tlabel\tmid\tscore\n"


def test_standard_input_is_always_analysed_again(folder: Path, tmp_path: Path, model_path: Path):
    sound, output = (folder / "1.wav").read_bytes(), tmp_path / "x.json"
    options = ["--model", str(model_path), "-o", str(output), "--resume"]
    assert CliRunner().invoke(main, ["tag", "-", *options], input=sound).exit_code == 0
    for _ in range(2):
        result = CliRunner().invoke(main, ["tag", str(folder / "0.wav"), "-", *options], input=sound)
        assert result.exit_code == 0
    assert result.stderr == "sedkit: 1 of 2 recordings were already done\n"
    assert [json.loads(line)["file"] for line in output.read_text().splitlines()] == [str(folder / "0.wav"), "-"]


@pytest.mark.parametrize("options", [["--resume"], ["--resume", "-o", "-"]])
def test_resume_needs_a_file(sedkit, folder: Path, options: list[str]):
    result = sedkit("tag", folder, *options)
    assert result.exit_code == 2
    assert "--resume needs an --output FILE or an --output-dir" in result.stderr


def test_every_format_resumes(sedkit, folder: Path, tmp_path: Path):
    """The first run fails on one recording, which is repaired before the second."""
    formats = [name for name, writer in FORMATS.items() if "events" in writer.kinds and name not in ("svg", "pdf")]
    options = ["-t", "0.4", *(argument for name in formats for argument in ("-f", name)), "--output-dir"]
    clips = [folder / "0.wav", folder / "3x.wav"]
    resumed, fresh = tmp_path / "resumed", tmp_path / "fresh"
    assert sedkit("timeline", *clips, *options, resumed).exit_code == 1
    soundfile.write(clips[1], make_sound(1, seed=99), 16000)
    again = sedkit("timeline", *clips, *options, resumed, "--resume")
    assert (again.exit_code, again.stderr) == (0, "sedkit: 1 of 2 recordings were already done\n")
    assert sedkit("timeline", *clips, *options, fresh).exit_code == 0
    (resumed / "sedkit.journal").unlink()
    expected = {path.name: comparable(path) for path in fresh.iterdir()}
    assert {path.name: comparable(path) for path in resumed.iterdir()} == expected
    assert len(expected) == sum(2 if "events" in FORMATS[name].single else 1 for name in formats)


def comparable(path: Path) -> bytes:
    """The contents of a file without the time at which it was made, which some formats hold."""
    return re.sub(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*", b"", path.read_bytes())
