"""``sedkit`` as a process: pipes, terminals, signals, imports."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner

from sedkit.cli import main
from tests.conftest import make_sound

COMMAND = [sys.executable, "-m", "sedkit"]
HEAVY = {"torch", "librosa", "scipy", "onnx", "onnxruntime", "av", "soundfile", "soxr", "pandas", "numpy", "rich"}
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and terminals")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, make_sound(4), 16000)
    return path


@pytest.fixture
def many(clip: Path, tmp_path: Path) -> Path:
    """A folder of 2000 recordings, which leaves time to interrupt."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:04}.wav").symlink_to(clip)
    return folder


def test_atexit_handlers_run():
    program = "import atexit; from sedkit.cli import run; atexit.register(print, 'done'); run()"
    result = subprocess.run([sys.executable, "-c", program, "--version"], capture_output=True, text=True)
    assert result.returncode == 0
    assert re.fullmatch(r"sedkit .*\ndone\n", result.stdout)
    assert result.stderr == ""


@pytest.mark.parametrize("chained", [True, False])
def test_an_interrupted_import_of_a_compiled_module(chained: bool, monkeypatch: pytest.MonkeyPatch):
    """Such a module turns the interruption into an error of its own."""

    def importing(name: str) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            raise ImportError("numpy.core.multiarray failed to import") from (interrupt if chained else None)

    monkeypatch.setattr("sedkit.cli.import_module", importing)
    monkeypatch.delenv("SEDKIT_DEBUG", raising=False)
    result = CliRunner().invoke(main, ["tag", "a.wav"])
    assert (result.exit_code, result.stderr) == (130, "sedkit: interrupted\n")


def with_closed(closed: str, arguments: list[str | Path], stdin: str | Path = os.devnull) -> tuple[int, str, str]:
    """Exit code, output and messages of ``sedkit`` after a shell has closed streams, as in ``sedkit 2>&-``."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *map(str, arguments)]
    with open(stdin, "rb") as file:
        result = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=120)
    return result.returncode, result.stdout, result.stderr


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "2>&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["tag", "timeline"])
def test_output_file_is_written_with_closed_streams(
    clip: Path, model_path: Path, tmp_path: Path, command: str, closed: str
):
    arguments = [command, clip, "-t", "0.3", "--model", model_path, "--device", "cpu", "-o"]
    assert with_closed("", [*arguments, tmp_path / "open.csv"]) == (0, "", "")
    assert with_closed(closed, [*arguments, tmp_path / "closed.csv"]) == (0, "", "")
    assert (tmp_path / "closed.csv").read_text() == (tmp_path / "open.csv").read_text()
    assert (tmp_path / "closed.csv").read_text().count("\n") > 1
    assert with_closed(closed, [command, tmp_path / "no.wav", "-o", tmp_path / "x.csv"])[0] == 1


@posix
@pytest.mark.parametrize(
    "command", ["--version", "--help", "tag --help", "models", "completion bash", "info", "tag", "timeline", "listen -"]
)
def test_closed_standard_output_is_a_one_line_error(clip: Path, model_path: Path, command: str):
    arguments: list[str | Path] = list(command.split())
    if command in ("info", "tag", "timeline"):
        arguments.append(clip)
    if command in ("tag", "timeline", "listen -"):
        arguments += ["--model", model_path, "--device", "cpu"]
    message = "sedkit: error: standard output is closed; redirect it to a file\n"
    assert with_closed(">&-", arguments, clip) == (1, "", message)
    assert with_closed(">&- 2>&-", arguments, clip) == (1, "", "")
    code, output, _ = with_closed("2>&-", arguments, clip)
    assert (code, bool(output)) == (0, True)


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_standard_output_is_a_one_line_error(
    clip: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    code, _, message = with_closed(">/dev/full", ["tag", clip, "--model", model_path])
    assert (code, message) == (1, "sedkit: error: standard output: cannot be written: No space left on device\n")
    for command in ("--version", "--help", "tag --help", "models"):
        code, _, message = with_closed(">/dev/full", list(command.split()))
        assert (code, message) == (1, "sedkit: error: standard output cannot be written: No space left on device\n")


@posix
def test_files_do_not_get_the_descriptors_of_closed_streams():
    program = (
        "from sedkit.cli.streams import replace_closed_streams as replace; replace(); import os, sys; "
        "os.write(2, b'from a library'); sys.exit(open(os.devnull).fileno())"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program]
    assert subprocess.run(command, timeout=60).returncode > 2


def on_terminal(
    arguments: list[str | Path], columns: int = 80, command: list[str] = COMMAND, **environment: str
) -> tuple[int, str]:
    """Exit code and output of ``sedkit`` on a pseudo-terminal."""
    import fcntl
    import pty
    import struct
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=plain | {"TERM": "xterm-256color"} | environment,
    )
    os.close(terminal)
    output = b""
    while select.select([controller], [], [], 60)[0]:
        try:
            output += os.read(controller, 65536)
        except OSError:  # how Linux signals the end of the output
            break
    os.close(controller)
    return process.wait(60), output.decode()


def test_help_imports_no_heavy_module():
    code = (
        "import sys; from sedkit.cli import main, COMMANDS\n"
        "for command in COMMANDS:\n"
        "    main([command, '--help'], standalone_mode=False)\n"
        f"print('loaded:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "loaded: []"


def test_version():
    import sedkit

    assert subprocess.check_output([*COMMAND, "--version"], text=True) == f"sedkit {sedkit.__version__}\n"


def test_audio_through_a_pipe(clip: Path, model_path: Path):
    arguments = ["timeline", "--threshold", "0.3", "--model", model_path, "--format", "json"]
    with subprocess.Popen(["cat", clip], stdout=subprocess.PIPE) as cat:
        result = subprocess.run([*COMMAND, *arguments], stdin=cat.stdout, capture_output=True, text=True, check=True)
    found = json.loads(result.stdout)
    assert (found["file"], found["duration"], len(found["seconds"])) == ("-", 4.0, 4)
    assert result.stderr == ""


@posix
def test_terminal_without_files_prints_usage_and_examples():
    code, output = on_terminal(["timeline"])
    assert code == 2
    assert "no FILES" in output
    assert "sedkit timeline clip.wav --threshold 0.3" in output
    assert on_terminal(["tag", "-"])[0] == 2


@posix
def test_terminal_shows_a_drawn_timeline(clip: Path, model_path: Path):
    code, output = on_terminal(["timeline", clip, "--model", model_path, "--threshold", "0"], columns=100)
    assert code == 0
    assert "\x1b[36m" in output
    assert "┬" in output
    assert "■" in output
    code, plain = on_terminal(["timeline", clip, "--model", model_path, "--threshold", "0"], NO_COLOR="1")
    assert code == 0
    assert "\x1b[3" not in plain
    assert "┬" in plain


@posix
def test_closed_standard_output_exits_with_141(many: Path, model_path: Path):
    for output_format in ("tsv", "text"):
        arguments = ["tag", many, "--model", model_path, "--format", output_format]
        with subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 141


@posix
def test_ctrl_c_interrupts_a_run_that_waits_for_a_pipe(clip: Path, model_path: Path):
    command = [*COMMAND, "tag", str(clip), "-", "--model", str(model_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"file\tlabel\tmid\tscore\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"sedkit: interrupted\n"
    assert process.returncode == 130


@posix
def test_terminal_shows_a_progress_bar(many: Path, clip: Path, model_path: Path, tmp_path: Path):
    names = sorted(many.iterdir())[:50]
    arguments = ["timeline", *names, "--model", model_path, "-o", tmp_path / "x.tsv"]
    code, output = on_terminal(arguments, columns=100, NO_COLOR="1")
    assert code == 0
    assert re.search(r"50/50 [\d,]+ x real time 0:00:00 0049.wav", output)
    soundfile.write(tmp_path / "long.wav", make_sound(75), 16000)
    code, output = on_terminal(["tag", tmp_path / "long.wav", "--model", model_path], columns=100, NO_COLOR="1")
    assert code == 0
    assert re.search(r"1:15 [\d,]+ x real time 0:00:00 long.wav", output)


@posix
def test_probe_that_fails_ends_no_run(clip: Path, model_path: Path, tmp_path: Path):
    """The progress bar asks for the length of a recording, on a terminal only."""
    program = (
        "import sys, sedkit.audio.probing as probing; from sedkit.cli import run\n"
        "def probe(*_, **__): raise ZeroDivisionError\n"
        "probing.probe = probe; run()"
    )
    arguments = ["tag", clip, "--model", model_path, "-o", tmp_path / "x.tsv"]
    assert on_terminal(arguments, command=[sys.executable, "-c", program])[0] == 0
    assert (tmp_path / "x.tsv").read_text().startswith("file\t")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str):
    script = subprocess.check_output([*COMMAND, "completion", shell], text=True)
    assert f"_SEDKIT_COMPLETE={shell}_complete" in script


def test_completion_knows_commands_and_options():
    def complete(words: str) -> str:
        environment = os.environ | {
            "_SEDKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        code = "from sedkit.cli import main; main(prog_name='sedkit')"
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout

    assert complete("sedkit ti") == "plain,timeline\n"
    assert "plain,--threshold\n" in complete("sedkit tag --t")
    assert "plain,small\n" in complete("sedkit tag --model sm")  # wels-secost-small for short
