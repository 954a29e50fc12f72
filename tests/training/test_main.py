"""``sedkit-train``: its help lists every command, and each command can be imported and has a help."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from training.__main__ import COMMANDS, Entry, main

ROOT = Path(__file__).parents[2]


def test_help_of_the_module_lists_every_command_without_importing_torch() -> None:
    code = "import runpy, sys\ntry:\n    runpy.run_module('training', run_name='__main__')\nfinally:\n"
    code += "    assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split(maxsplit=1) for line in listed] == [[name, entry.help] for name, entry in COMMANDS.items()]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_can_be_imported_and_has_a_help(name: str) -> None:
    with click.Context(main) as context:
        command = main.get_command(context, name)
    assert isinstance(command, click.Command)
    assert command.get_short_help_str().strip()
    assert COMMANDS[name].help.endswith(".")
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    usage, _, text = result.output.partition("\n\n")
    assert name in usage
    assert text.splitlines()[0].strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_unknown_option_is_a_one_line_error(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--no-such-option"])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    assert "Error: " in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["training", "--help"], ["sedkit", "--help"], ["sedkit", "--version"]])
def test_full_standard_output_is_a_one_line_error(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "sedkit: error: standard output cannot be written: No space left on device\n"


def test_interruption_while_a_command_is_imported_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.runtime.command_line.import_module", interrupted)
    result = CliRunner().invoke(main, ["own"])
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_interruption_waits_until_a_command_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport click\nmain = click.Command('held')\n"
    (tmp_path / "interrupted_in_its_import.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(COMMANDS, "held", Entry("interrupted_in_its_import", "main", "It is not run."))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = CliRunner().invoke(main, ["held"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert sys.modules.pop("interrupted_in_its_import").main.name == "held"


def test_unknown_command_is_a_one_line_error() -> None:
    result = CliRunner().invoke(main, ["trian"])
    assert result.exit_code == 2
    assert "No such command 'trian'" in result.output


def test_git_ignores_no_file_of_the_packages() -> None:
    """A pattern that also matches a package leaves its new files out of commits and wheels."""
    if not ((ROOT / ".git").exists() and shutil.which("git")):
        pytest.skip("not a checkout")
    paths = [path for folder in ("sedkit", "training", "tests") for path in (ROOT / folder).rglob("*.py")]
    command = ["git", "check-ignore", "--no-index", "--stdin"]
    text = "\n".join(str(path.relative_to(ROOT)) for path in paths)
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)
    assert done.stdout == ""
