"""The group of commands ``sedkit-train evaluate``."""

from __future__ import annotations

from click.testing import CliRunner

from training.evaluate.commands import COMMANDS, main


def test_every_command_is_there() -> None:
    said = CliRunner().invoke(main, ["--help"])
    assert said.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in said.stdout
        said_of_it = CliRunner().invoke(main, [name, "--help"])
        assert said_of_it.exit_code == 0
        assert "Examples:" in said_of_it.stdout or name == "run"
    assert CliRunner().invoke(main, ["no-such"]).exit_code == 2
