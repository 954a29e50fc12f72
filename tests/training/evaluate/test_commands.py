"""The command group ``sedkit-train evaluate``."""

from __future__ import annotations

from click.testing import CliRunner

from training.evaluate.commands import COMMANDS, main


def test_every_command_has_help_with_examples() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout
        command_help = CliRunner().invoke(main, [name, "--help"])
        assert command_help.exit_code == 0
        assert "Examples:" in command_help.stdout
    assert CliRunner().invoke(main, ["no-such"]).exit_code == 2
