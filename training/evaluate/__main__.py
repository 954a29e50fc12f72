"""``python -m training.evaluate COMMAND``: one module a command, imported only when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from training.data.options import Commands

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
      python -m training.evaluate run runs/first
      python -m training.evaluate crossval runs/cv --peer yamnet=yamnet.tflite
      python -m training.evaluate timelines runs/first/model.onnx soundscapes
    """


if __name__ == "__main__":
    sys.exit(main(prog_name="python -m training.evaluate"))
