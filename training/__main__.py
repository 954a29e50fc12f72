"""Every command of the training backend: ``sedkit-train``, or ``python -m training`` in a checkout."""

from __future__ import annotations

import sys
from typing import NamedTuple, NoReturn

import click

from sedkit.cli import flush_stdout, unwritable
from sedkit.cli.streams import FULL
from training.runtime.command_line import Commands, import_command


class Entry(NamedTuple):
    """Where a command is, and a line on what it does; listing the commands imports none of them."""

    module: str
    name: str
    help: str


COMMANDS = {
    "data": Entry("training.data.commands", "main", "Turn data sets into manifests; check, mix and pack them."),
    "secost": Entry("training.secost", "main", "Train a SeCoST cascade and export a network."),
    "own": Entry("training.release.own.command", "main", "Teach the small model classes of your own."),
    "teachers": Entry(
        "training.supervision.teacher_commands", "main", "Make external teachers: score files, online YAMNet."
    ),
    "experiments": Entry("training.runs.experiments.sweep", "main", "Train all runs of a preset."),
    "crossval": Entry("training.runs.experiments.crossval", "main", "Train one run per fold, tested on that fold."),
    "evaluate": Entry("training.evaluate.commands", "main", "Measure runs and models; print tables in Markdown."),
    "import": Entry(
        "training.release.imported.command", "main", "Write a network that others trained as a sedkit model."
    ),
    "calibrate": Entry("training.release.calibrate", "main", "Calibrate a model's scores and choose its thresholds."),
    "quantize": Entry("training.release.quantize", "main", "Make the int8 form of a model and measure its loss."),
    "publish": Entry("training.release.publish", "main", "Copy a run's model into models/ and write its card."),
}


class Training(Commands):
    """Imports a command when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        return import_command(entry.module, entry.name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=Training, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Train sound event detection models with SeCoST.

    \b
    Examples:
      sedkit-train own recordings/ --output birds.onnx
      sedkit-train data folders recordings/ --output manifest.csv
      sedkit-train secost --manifest manifest.csv --run runs/mine
      sedkit-train evaluate run runs/mine
    """


def run(name: str = "sedkit-train") -> NoReturn:
    """Entry point of the ``sedkit-train`` console script; ends the process."""
    code: str | int | None = 0
    try:
        main(prog_name=name)
    except SystemExit as exit_request:
        code = exit_request.code
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        code = unwritable(error)  # files are written by functions that name them
    sys.exit(flush_stdout() or code)


if __name__ == "__main__":
    run("python -m training")
