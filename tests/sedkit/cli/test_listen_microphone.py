"""``sedkit listen`` with a fake microphone, and its timeline on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sedkit.cli import main
from tests.sedkit.audio.test_microphone import microphone  # noqa: F401
from tests.sedkit.cli.test_listen import of_type
from tests.sedkit.cli.test_process import posix


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
        assert result.exit_code == 3
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert records[0]["source"] == "Test microphone"
        assert of_type(records, "second")[-1]["end"] == 3.0
        assert [(x["onset"], x["offset"]) for x in of_type(records, "event")] == [(0.0, pytest.approx(3.0, abs=0.1))]
        assert len(of_type(records, "lost")) == 2
        assert of_type(records, "lost")[-1] == {"time": 3.0, "from": 3.0, "to": None}
        assert "sound was lost at 0:00:0" in result.stderr
        assert "Test microphone: delivers no more sound; check that it is connected" in result.stderr

    def test_list_option(self):
        result = CliRunner().invoke(main, ["listen", "--list"])
        assert result.stdout == "*   1  Test microphone  (2 channels, 16000 Hz)\n"

    def test_unknown_microphone(self, run):
        result = run("nosuch")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "nosuch: no such microphone" in result.stderr
