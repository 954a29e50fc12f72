"""``sedkit-train evaluate COMMAND``: one module a command, imported only when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

from training.runtime.command_line import Commands

COMMANDS = ("run", "report", "crossval", "timelines", "robustness", "mappings")


class Evaluations(Commands):
    """Imports ``training.evaluate.<name>.command`` for a command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"training.evaluate.{cmd_name}").command
        return command


@click.group(cls=Evaluations, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """How good networks and models are.

    Results go to standard output, in Markdown; what else is to be said goes to standard error.

    \b
    Examples:
      sedkit-train evaluate run runs/first
      sedkit-train evaluate crossval runs/cv --peer yamnet=yamnet.tflite
      sedkit-train evaluate timelines runs/first/model.onnx soundscapes
    """
