"""Signals at any moment: what is on the disk is never wrong, and ``--resume`` ends with the bytes of a quiet run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import soundfile

from tests.conftest import make_sound

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
# The imports that take longest; a forked child runs the command at once, so that random moments hit the analysis.
SERVER = """
import os, sys
import sedkit.inference.pipeline, sedkit.inference.onnx_runtime, soundfile, soxr, sedkit.tagger
from sedkit.cli import run, tag, timeline
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        sys.argv = ["sedkit", *line.rstrip("\\n").split("\\t")]
        run()
    print("started", child, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
COUNT = 40


class Runner:
    """Runs commands in forked processes, and sends them signals."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.clips, self.output, self.model = folder / "clips", folder / "out", model
        self.running = False
        self.clips.mkdir()
        self.output.mkdir()
        for number in range(3):
            soundfile.write(folder / f"{number}.wav", make_sound((1, 2, 12)[number], seed=number), 16000)
        for number in range(COUNT):
            os.link(folder / f"{2 if number % 50 == 7 else number % 2}.wav", self.clips / f"{number:03}.wav")
        self.errors = open(folder / "errors", "w+")  # noqa: SIM115
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def start(self, command: str, name: str, *options: str) -> int:
        arguments = [command, self.clips, "-t", "0.3", "--model", self.model, "--device", "cpu", "-o"]
        if self.running:  # left by a test that failed
            self.code()
        self.running = True
        self.errors.seek(0)
        self.errors.truncate()
        print(*arguments, self.output / name, *options, sep="\t", file=self.server.stdin, flush=True)
        return self.read("started")

    def read(self, word: str) -> int:
        """The number after a word that the server must say now; never that of another process."""
        line = self.server.stdout.readline().split()
        assert line[0] == word
        return int(line[1])

    def code(self) -> int:
        """The exit code of the command that was started last, when it has ended; minus the signal that ended it."""
        self.running = False
        return self.read("ended")

    def messages(self) -> list[str]:
        self.errors.seek(0)
        return self.errors.read().splitlines()

    def wait_for_results(self, name: str) -> None:
        journal = self.output / f"{name}.journal"
        deadline = time.monotonic() + 120
        while not (journal.exists() and journal.stat().st_size > 2000):
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait(60)
        self.server.stdout.close()
        self.errors.close()


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, model_path: Path):
    runner = Runner(tmp_path_factory.mktemp("signals"), model_path)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def quiet(runner: Runner) -> dict[str, tuple[bytes, float]]:
    """Output and seconds of runs that nothing disturbs."""
    found = {}
    for command in ("tag", "timeline"):
        before = time.monotonic()
        runner.start(command, f"quiet.{command}.csv")
        assert runner.code() == 0
        found[command] = (runner.output / f"quiet.{command}.csv").read_bytes(), time.monotonic() - before
    return found


@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", ["tag", "timeline"])
def test_kills_at_random_moments(runner: Runner, quiet: dict[str, tuple[bytes, float]], command: str, kills: int):
    expected, seconds = quiet[command]
    rng = random.Random(kills)
    name, late = f"{command}.{kills}.csv", 0
    output = runner.output / name
    for kill in range(kills):
        journal = output.with_name(f"{name}.journal")
        process = runner.start(command, name, *(["--resume"] if journal.exists() else []))
        time.sleep(rng.uniform(0, seconds))
        with suppress(ProcessLookupError):  # it has ended already
            os.kill(process, signal.SIGKILL)
        code = runner.code()
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            late, seconds = late + 1, seconds * 0.7
        if output.exists():
            assert output.read_bytes() == expected, "the output is there as a whole or not at all"
        if kill % 3 == 2:  # begin anew, or every later run would have little left to do
            output.unlink(missing_ok=True)
            journal.unlink(missing_ok=True)
    runner.start(command, name, *(["--resume"] if output.with_name(f"{name}.journal").exists() else []))
    assert runner.code() == 0
    assert output.read_bytes() == expected
    assert late < kills
    assert sorted(path.name for path in runner.output.glob(f"{name}*")) in ([name], [name, f"{name}.journal"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_run_and_keeps_the_results(
    runner: Runner, quiet: dict[str, tuple[bytes, float]], number: signal.Signals, code: int
):
    name = f"{number.name}.csv"
    (runner.output / name).write_text("old")
    process = runner.start("timeline", name)
    runner.wait_for_results(name)
    os.kill(process, number)
    assert runner.code() == code
    kept, last = runner.messages()
    assert kept.endswith("--resume continues from there")
    assert last == "sedkit: interrupted"
    assert (runner.output / name).read_text() == "old"
    assert {path.name for path in runner.output.glob(f"{name}*")} == {name, f"{name}.journal"}
    runner.start("timeline", name, "--resume")
    assert runner.code() == 0
    assert (runner.output / name).read_bytes() == quiet["timeline"][0]


def test_a_run_that_ignores_hangups_goes_on(runner: Runner):
    """As ``nohup`` starts it."""
    program = (
        "import signal, os; signal.signal(signal.SIGHUP, signal.SIG_IGN); import sedkit.cli as cli\n"
        "cli.main = lambda **_: os.kill(os.getpid(), signal.SIGHUP); cli.run()"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_stop_and_a_continuation_change_nothing(runner: Runner, quiet: dict[str, tuple[bytes, float]]):
    process = runner.start("timeline", "stop.csv")
    runner.wait_for_results("stop.csv")
    for _ in range(3):
        os.kill(process, signal.SIGSTOP)
        time.sleep(0.1)
        os.kill(process, signal.SIGCONT)
        time.sleep(0.02)
    assert runner.code() == 0
    assert (runner.output / "stop.csv").read_bytes() == quiet["timeline"][0]
    assert runner.messages() == []
