"""Runs on a real Ray cluster whose workers, or whose driver, are killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
import soundfile
from click.testing import CliRunner, Result

from sedkit.cli import main
from sedkit.cluster.engine import ENVIRONMENT
from tests.conftest import make_sound

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'sedkit-audio[cluster]'")
dataset = pytest.importorskip("pyarrow.dataset", reason="pyarrow is not installed: pip install 'sedkit-audio[cluster]'")

ROOT = Path(__file__).parents[3]
TIMEOUT = 180  # seconds; Ray starts slowly on a busy machine
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc"),
    pytest.mark.filterwarnings("ignore:`use_:DeprecationWarning:ray.data.context"),  # Ray sets its own old options
]


HEAD = """
import logging, ray, sys
options = dict(num_cpus=2, include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
print(ray.init("local", logging_level=logging.ERROR, **options).address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with two CPUs, which ends with its head process."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_raylet_start_wait_time_s", str(TIMEOUT))
        environment.setenv(
            "RAY_worker_niceness", "0"
        )  # the default of 15 can delay workers by minutes on a busy machine
        environment.setenv("RAY_AUTH_MODE", "disabled")  # otherwise it leaves a token in the home directory
        environment.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        with subprocess.Popen([sys.executable, "-c", HEAD], stdin=PIPE, stdout=PIPE, text=True) as head:
            assert head.stdout is not None
            address = head.stdout.readline().strip()
            environment.setenv("RAY_ADDRESS", address)
            yield address
            head.communicate()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of recordings, and one file that is not audio."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(14):
        soundfile.write(folder / f"{number:02}.wav", make_sound(0.5 + number % 3, seed=number), 16000)
    (folder / "03.wav").write_bytes(b"RIFF but no audio")
    return folder


def sedkit(command: str, folder: Path, model: Path, *options: str | Path) -> Result:
    recordings = sorted(folder.iterdir())  # named, because pipes in a folder are skipped
    arguments = [command, *recordings, "--model", model, "--device", "cpu", *options]
    result = CliRunner().invoke(main, [*map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def single_machine(command: str, folder: Path, model: Path, *options: str) -> tuple[list[dict], list[str]]:
    """The rows that the archive should have, and the lines on standard error."""
    result = sedkit(command, folder, model, "--format", "json", *options)
    rows = []
    for line in result.stdout.splitlines():
        record = json.loads(line)
        tag_fields = {"file": record["file"], "onset": 0.0, "offset": record["duration"]}
        rows += [tag_fields | item for item in record["tags" if command == "tag" else "events"]]
    return rows, result.stderr.splitlines()


def rows(archive: Path) -> list[dict]:
    """All rows of an archive, in order."""
    return dataset.dataset(archive).to_table().to_pylist()


def manifest(archive: Path) -> dict:
    return json.loads((archive / "_sedkit" / "manifest.json").read_text())


def process_settings() -> tuple:
    """What a run could change in this process."""
    context = vars(ray.data.DataContext.get_current())
    names = ("enable_progress_bars", "print_on_execution_start", "execution_no_progress_timeout_s")
    levels = [logging.getLogger(name).level for name in ("ray", "ray.data")]
    return [context[name] for name in names], levels, [os.environ.get(name) for name in ENVIRONMENT], sys.stdout


def wait_for(condition, message: str):
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise TimeoutError(message)


def replace_by_pipe(recording: Path) -> Path:
    """Replace a recording by a named pipe, which blocks its reader. Returns the recording's new path."""
    aside = recording.parent.parent / recording.name
    recording.rename(aside)
    os.mkfifo(recording)
    return aside


@contextmanager
def reader(pipe: Path) -> Iterator[int]:
    """The process that reads a named pipe; it stays blocked while the ``with`` block runs."""

    def opened() -> int | None:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None  # no reader yet

    def found() -> int | None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if int(process.name) != os.getpid() and any(
                    os.readlink(file) == str(pipe) for file in (process / "fd").iterdir()
                ):
                    return int(process.name)
            except OSError:
                continue  # the process has ended, or belongs to another user
        return None

    held = wait_for(opened, f"no process reads {pipe}")
    try:
        yield wait_for(found, f"the reader of {pipe} was not found")
    finally:
        os.close(held)


def wait_for_exit_of(process: int) -> None:
    state = Path(f"/proc/{process}/stat")
    wait_for(
        lambda: not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z",
        "the process has not ended",
    )


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    wait_for_exit_of(process)


@pytest.mark.slow
def test_killed_workers(cluster: str, clips: Path, model_path: Path, tmp_path: Path):
    """One worker is killed once, two at the same recording: the other rows are those of a single machine."""
    (clips / "11.wav").unlink()
    expected, errors = single_machine("tag", clips, model_path, "--threshold", "0.1")
    accident, deadly = clips / "05.wav", clips / "11.wav"
    aside = replace_by_pipe(accident)
    os.mkfifo(deadly)

    def kill_them() -> None:
        with reader(accident) as worker:
            os.replace(aside, accident)
            kill(worker)
        for _ in range(2):
            with reader(deadly) as worker:
                kill(worker)

    before = process_settings()
    with ThreadPoolExecutor(1) as killer:
        killed = killer.submit(kill_them)
        result = sedkit("tag", clips, model_path, "--threshold", "0.1", "--engine", "ray", "--output", tmp_path / "out")
        killed.result()
    assert process_settings() == before
    assert result.stdout == ""
    assert result.exit_code == 1
    assert rows(tmp_path / "out") == expected
    broken, died, count = result.stderr.splitlines()
    assert [broken] == errors[:1]
    assert died == f"sedkit: error: {deadly}: crashed two worker processes; analyse it by itself to see why"
    assert count == "sedkit: 2 of 14 failed"
    failures = [json.loads(line) for line in (tmp_path / "out" / "_sedkit" / "failures.jsonl").read_text().splitlines()]
    assert [failure["file"] for failure in failures] == [str(clips / "03.wav"), str(deadly)]
    described = manifest(tmp_path / "out")
    assert described["complete"]
    assert described["planned"]["recordings"] == 14 == sum(part["recordings"] for part in described["partitions"])
    assert [part["failures"] for part in described["partitions"]].count(1) == 2
    assert sum(part["rows"] for part in described["partitions"]) == len(expected)


@pytest.mark.slow
def test_killed_driver(cluster: str, clips: Path, model_path: Path, tmp_path: Path):
    """``--resume`` keeps finished partitions, analyses the rest, and ends with the rows of a single machine."""
    (clips / "03.wav").unlink()
    expected, _ = single_machine("timeline", clips, model_path, "--threshold", "0.2")
    aside, out = replace_by_pipe(clips / "08.wav"), tmp_path / "out"
    command = [sys.executable, "-m", "sedkit", "timeline", *sorted(clips.iterdir()), "--threshold", "0.2"]
    command += ["--model", model_path, "--device", "cpu", "--engine", "ray", "--address", cluster, "--output", out]
    with subprocess.Popen([*map(str, command)], stdout=PIPE, stderr=PIPE) as driver:
        with reader(clips / "08.wav") as worker:
            wait_for(lambda: list(out.glob("part-*")), "no partition")
            driver.kill()
            wait_for_exit_of(worker)  # Ray ends it
        assert driver.communicate() == (b"", b"")
    os.replace(aside, clips / "08.wav")
    before = {part: part.stat().st_mtime_ns for part in out.glob("part-*")}
    assert 0 < len(before) < 8

    options = ["--engine", "ray", "--output", out]
    assert (
        "holds results already; continue them with --resume" in sedkit("timeline", clips, model_path, *options).stderr
    )
    refused = sedkit("timeline", clips, model_path, "--threshold", "0.3", *options, "--resume")
    assert "the earlier run used --threshold 0.2, this one uses --threshold 0.3" in refused.stderr
    result = sedkit("timeline", clips, model_path, "--threshold", "0.2", *options, "--resume")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert rows(out) == expected
    assert manifest(out)["complete"]
    assert before == {part: part.stat().st_mtime_ns for part in before}
