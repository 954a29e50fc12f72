"""The ``sedkit`` command: one file a command, each imported only when it is asked for.

Standard output carries results and nothing else. Exit codes: 0 all went well, 1 something failed
(one line on standard error says what), 2 wrong usage, 130 interrupted, 141 nobody reads our output.
"""

from __future__ import annotations

import atexit
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from sedkit.errors import ArgumentError, SedkitError

COMMANDS = ("tag", "timeline", "listen", "models", "info", "completion")


class Group(click.Group):
    """Imports ``sedkit.cli.<name>.command`` for a command, and turns what it raises into a line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"sedkit.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except ArgumentError as error:
            code = complain(str(error), 2)
        except SedkitError as error:
            code = complain(str(error), 1)
        except KeyboardInterrupt:
            click.echo("sedkit: interrupted", err=True)
            code = 130
        except BrokenPipeError:
            mute_stdout()
            code = 141
        except Exception as error:
            if "SEDKIT_DEBUG" in os.environ:
                raise
            code = complain(f"{type(error).__name__}: {error} (SEDKIT_DEBUG=1 shows where)", 1)
        raise click.exceptions.Exit(code)


def complain(message: str, code: int) -> int:
    """Print an error line on standard error; returns ``code``."""
    click.echo("sedkit: error: " + " ".join(message.split()), err=True)
    return code


def mute_stdout() -> None:
    """Let the interpreter flush what is left of standard output into nothing, instead of complaining at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def print_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import sedkit

        click.echo(f"sedkit {sedkit.__version__}")
        ctx.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show the version."
)
def main() -> None:
    """What is in a recording, and when.

    \b
    Examples:
      sedkit tag clip.wav                    what is in it
      sedkit timeline clip.wav               what is in it, and when
      ffmpeg -i film.mkv -f wav - | sedkit timeline --threshold 0.3
      sedkit tag recordings/ --recursive --output tags.csv
    """


def run() -> NoReturn:
    """The command ``sedkit``, as a process of its own."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's; nothing here multiplies matrices outside a model
    try:
        main(prog_name="sedkit")
    except SystemExit as ended:
        leave(ended.code)
    leave(0)


def leave(code: str | int | None) -> NoReturn:
    """End the process without taking the interpreter and its libraries apart, a tenth of the time of a short run."""
    code = complain(code, 1) if isinstance(code, str) else code or 0
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = 141
    except OSError as error:
        code = complain(f"standard output cannot be written: {error.strerror}", 1)
    sys.stderr.flush()
    os._exit(code)
