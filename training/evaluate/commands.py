"""The command group ``sedkit-train evaluate``. A command's module is imported only when the command runs."""

from __future__ import annotations

import click

from training.runtime.command_line import Commands, import_command

COMMANDS = ("run", "report", "crossval", "timelines", "robustness", "unknown", "known", "first")


class Evaluations(Commands):
    """Finds the command NAME in ``training.evaluate.NAME.command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return import_command(f"training.evaluate.{cmd_name}", "command")


@click.group(cls=Evaluations, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Measure runs and models.

    Results go to standard output as Markdown tables. Warnings and progress go to standard error.

    \b
    Examples:
      sedkit-train evaluate run runs/first
      sedkit-train evaluate crossval runs/cv --peer yamnet=yamnet.tflite
      sedkit-train evaluate timelines runs/first/model.onnx soundscapes
    """
