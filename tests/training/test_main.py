"""``sedkit-train``: its help lists every command, and each command can be imported and has a help."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from training.__main__ import COMMANDS, main

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
