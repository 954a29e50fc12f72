"""``sedkit listen``: as a process that reads a pipe, and with a fake microphone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sedkit.cli import main
from tests.conftest import make_sound
from tests.sedkit.audio.test_live import microphone  # noqa: F401
from tests.sedkit.cli.test_process import posix

RATE = 16_000
SOUND = (make_sound(9.7, RATE, seed=11) * 32767).astype("<i2")


class ListenProcess:
    """A running ``sedkit listen -``."""

    def __init__(self, model: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "sedkit", "listen", "-", "--model", model, "--device", "cpu", *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*map(str, command)], stdin=pipe, stdout=pipe, stderr=pipe)

    def send(self, samples: np.ndarray) -> None:
        self.process.stdin.write(samples.tobytes())
        self.process.stdin.flush()

    def read_until(self, kind: str, **fields: float) -> list[dict]:
        """Read records up to the first of this type with these fields; returns all of them."""
        records = []
        for line in self.process.stdout:
            records.append(json.loads(line))
            if records[-1]["type"] == kind and all(records[-1][name] == value for name, value in fields.items()):
                return records
        raise AssertionError(f"no {kind} {fields}: {self.process.stderr.read().decode()}")

    def read_rest(self) -> list[dict]:
        return [json.loads(line) for line in self.process.stdout]

    def wait(self) -> tuple[int, str]:
        code = self.process.wait(60)
        self.process.stdin.close()
        self.process.stdout.close()
        with self.process.stderr as errors:
            return code, errors.read().decode()


@pytest.fixture
def listening(model_path):
    started = []

    def start(*arguments: str) -> ListenProcess:
        started.append(ListenProcess(model_path, *arguments))
        return started[-1]

    yield start
    for listening in started:
        listening.process.kill()
        listening.process.wait()
        for stream in (listening.process.stdin, listening.process.stdout, listening.process.stderr):
            with suppress(BrokenPipeError):  # samples that were not flushed
                stream.close()


def of_type(records: list[dict], kind: str) -> list[dict]:
    return [
        {name: value for name, value in record.items() if name != "type"}
        for record in records
        if record["type"] == kind
    ]


def assert_close(found: list[dict], expected: list[dict]) -> None:
    """Assert that records are equal, except for the last of the four digits of scores."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        tags, others = one.pop("tags", []), other.pop("tags", [])
        assert one == {**other, "score": pytest.approx(other["score"], abs=2e-4)} if "score" in other else one == other
        assert {tag["label"]: tag["score"] for tag in tags} == {
            tag["label"]: pytest.approx(tag["score"], abs=2e-4) for tag in others
        }


def test_records_arrive_while_the_pipe_is_open_and_equal_the_timeline(listening, tagger):
    live = listening("--rate", "16000", "--threshold", "0.4")
    live.send(SOUND[: 6 * RATE])
    records = live.read_until("second", end=4.0)  # 6 s of sound decide 4 s of cells, which depend on up to 2 s more
    assert live.process.poll() is None
    live.send(SOUND[6 * RATE :])
    live.process.stdin.close()
    records += live.read_rest()
    assert live.wait() == (0, "")
    assert records[0].items() >= {"type": "start", "source": "-", "sample_rate": 16_000, "resolution": 1.0}.items()
    whole = tagger.timeline(SOUND, RATE, threshold=0.4).to_dict()
    assert_close(of_type(records, "second"), whole["seconds"])
    events = sorted(of_type(records, "event"), key=lambda event: (event["onset"], event["label"]))
    assert_close(events, sorted(whole["events"], key=lambda event: (event["onset"], event["label"])))


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_source_and_prints_open_events(listening, tagger, number):
    live = listening("--rate", "16000", "--threshold", "0", "--classes", "Dog,Siren")
    live.send(SOUND[: 4 * RATE])
    records = live.read_until("second", end=1.0)
    live.process.send_signal(number)
    records += live.read_rest()
    assert live.wait() == (0, "")
    end = of_type(records, "second")[-1]["end"]  # of the sound that had been read
    assert 1.0 < end <= 4.0
    whole = tagger.timeline(SOUND[: round(end * RATE)], RATE, threshold=0, classes=["Dog", "Siren"]).to_dict()
    assert_close(of_type(records, "event"), whole["events"])


@posix
def test_closed_standard_output_exits_with_141(listening):
    live = listening("--rate", "16000")
    live.send(SOUND[: 4 * RATE])
    live.read_until("second", end=1.0)
    live.process.stdout.close()
    with suppress(BrokenPipeError):  # it may have ended already
        live.send(SOUND[4 * RATE :])
    assert live.process.wait(60) == 141
    assert live.process.stderr.read() == b""


def test_text_without_a_terminal_has_one_line_per_event(listening, tagger):
    live = listening("--rate", "16000", "--format", "text", "--threshold", "0.4")
    live.send(SOUND)
    live.process.stdin.close()
    lines = live.process.stdout.read().decode().splitlines()
    assert live.wait() == (0, "")
    assert len(lines) == len(tagger.timeline(SOUND, RATE, threshold=0.4).events)
    assert all(line.startswith("0:00:0") and " - 0:00:0" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the sample rate is unknown; add --rate"),
        (["--rate", "16000", "--classes", "Dgo"], 2, "did you mean Dog?"),
        (["--rate", "16000", "--encoding", "mp3"], 2, "not one of u8, s16le, s32le, f32le"),
    ],
)
def test_wrong_usage_is_a_one_line_error(listening, arguments, code, message):
    live = listening(*arguments)
    live.process.stdin.write(b"\0" * 8)
    live.process.stdin.close()
    found, text = live.wait()
    assert found == code
    assert message in text
    assert "Traceback" not in text


@posix
def test_scrolling_timeline_on_a_terminal_with_and_without_colour(model_path):
    command = f"'{sys.executable}' -m sedkit listen - --rate 16000 --threshold 0 --model '{model_path}' --device cpu"
    for environment, colour in (({}, True), ({"NO_COLOR": "1"}, False)):
        text = on_terminal(f"head -c 160000 /dev/zero | {command}", environment)
        assert "standard input  5.0 s" in text.replace("\x1b[0m", "").replace("\x1b[1m", "").replace("\x1b[90m", "")
        assert "Church bell" in text
        assert ("\x1b[36m" in text) == colour
        assert "\x1b[?25h" in text  # the cursor is shown again


def on_terminal(command: str, environment: dict[str, str]) -> str:
    """The output of a shell command that runs on a pseudo-terminal."""
    import pty

    controller, terminal = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    environment = plain | {"TERM": "xterm-256color"} | environment
    process = subprocess.Popen(command, shell=True, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    output = b""
    while True:
        try:
            piece = os.read(controller, 65536)
        except OSError:
            break
        if not piece:
            break
        output += piece
    os.close(controller)
    assert process.wait(60) == 0
    return output.decode()


@pytest.mark.usefixtures("microphone")
class TestMicrophone:
    """In this process, with the fake microphone of test_live: 3 s of sound, then it is unplugged."""

    @pytest.fixture
    def run(self, model_path):
        return lambda *arguments: CliRunner().invoke(
            main, ["listen", *arguments, "-m", str(model_path), "--device", "cpu"]
        )

    def test_unplugged_microphone_keeps_results_and_lost_sound_is_reported(self, run):
        result = run("--threshold", "0", "--classes", "Dog")
        assert result.exit_code == 1
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert records[0]["source"] == "Test microphone"
        assert of_type(records, "second")[-1]["end"] == 3.0
        assert [(x["onset"], x["offset"]) for x in of_type(records, "event")] == [(0.0, pytest.approx(3.0, abs=0.1))]
        assert len(of_type(records, "lost")) == 1
        assert "sound was lost at 0:00:0" in result.stderr
        assert "Test microphone: this microphone delivers no more sound" in result.stderr

    def test_list_option(self):
        result = CliRunner().invoke(main, ["listen", "--list"])
        assert result.stdout == "*   1  Test microphone  (2 channels, 16000 Hz)\n"

    def test_unknown_microphone(self, run):
        result = run("nosuch")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "nosuch: no such microphone" in result.stderr
