"""The ``sedkit`` command: one module per subcommand, imported only when that subcommand runs.

Standard output carries results and nothing else. Exit codes: 0 success, 1 failure (explained on one line of standard
error), 2 wrong usage, 3 a live source was lost, 130 interrupted, 141 the reader of standard output has gone, 128 + N
ended by signal N (SIGHUP, SIGTERM).
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from sedkit.cli.messages import print_error, print_notice
from sedkit.cli.streams import FULL, mute_stdout, replace_closed_streams
from sedkit.errors import ArgumentError, LostSourceError, SedkitError

COMMANDS = (
    "tag",
    "timeline",
    "listen",
    "serve",
    "extract",
    "embed",
    "evaluate",
    "compare",
    "tune",
    "convert",
    "models",
    "info",
    "completion",
)
QUICK = ("tag", "timeline", "extract", "embed", "serve")  # they analyse recordings, and leave nothing to the teardown


class Terminated(KeyboardInterrupt):
    """A signal that ends the process has come.

    Parameters
    ----------
    signal : its number.
    """

    def __init__(self, signal: int) -> None:
        super().__init__()
        self.signal = signal


class Group(click.Group):
    """Imports ``sedkit.cli.NAME.command`` for subcommand NAME, and turns exceptions into one line and an exit code."""

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
            print_error(str(error))
            code = 2
        except SedkitError as error:
            print_error(str(error))
            code = 3 if isinstance(error, LostSourceError) else 1
        except KeyboardInterrupt as interrupt:
            code = interrupted(interrupt)
        except BrokenPipeError:
            mute_stdout()
            code = 141
        except Exception as error:
            reason = error.__cause__ or error.__context__
            if isinstance(reason, KeyboardInterrupt):  # while a compiled module was imported
                code = interrupted(reason)
            elif isinstance(error, OSError) and error.errno in FULL and error.filename is None:
                code = unwritable(error)
            elif "SEDKIT_DEBUG" in os.environ:
                raise
            else:
                print_error(unexpected(error))
                code = 1
        raise click.exceptions.Exit(code)


def interrupted(interrupt: KeyboardInterrupt) -> int:
    """Say so; returns the exit code."""
    print_notice("interrupted")
    return 128 + (interrupt.signal if isinstance(interrupt, Terminated) else signal.SIGINT)


def unexpected(error: Exception) -> str:
    """The message for an exception that is not a :class:`SedkitError`."""
    message = f"{type(error).__name__}: {error} (SEDKIT_DEBUG=1 shows the traceback)"
    if isinstance(error, ImportError):
        from sedkit.install import install_remedy

        return f"{message}; to repair the installation: {install_remedy()}"
    return message


def print_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    """The callback of ``--version``; also reports a package that overwrites files of this one."""
    if wanted and not ctx.resilient_parsing:
        from sedkit import install

        click.echo(f"sedkit {install.version()}")
        if problem := install.conflict():
            print_notice(problem)
        ctx.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Show the version."
)
def main() -> None:
    """Name the sounds in recordings, and when they occur.

    \b
    Examples:
      sedkit tag clip.wav                    which sounds occur
      sedkit timeline clip.wav               which sounds occur, and when
      ffmpeg -i film.mkv -f wav - | sedkit timeline --threshold 0.3
      sedkit tag recordings/ --recursive --output tags.csv
    """


def run() -> NoReturn:
    """Entry point of the ``sedkit`` console script; ends the process."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy multiplies no large matrices here; ONNX Runtime does
    replace_closed_streams()
    end_orderly()
    code: str | int | None = 0
    try:
        main(prog_name="sedkit")
    except SystemExit as exit_request:
        code = exit_request.code
    except SedkitError as error:  # of --version and --help, which run before Group.invoke
        code = str(error)
    except OSError as error:  # of these, too
        code = unwritable(error)
    if isinstance(code, str):
        print_error(code)
        code = 1
    leave(flush_stdout() or int(code or 0))


def leave(code: int) -> NoReturn:
    """End the process: after the commands in QUICK, without the teardown of the interpreter and of ONNX Runtime.

    In 15 rounds of ``sedkit tag`` on 10 s of sound and two CPUs, the teardown took 29 of 272 ms. What it would have
    done is done before: files are closed and threads joined when the ``with`` blocks of the commands end, and the
    standard streams are flushed here. After an interruption, the teardown could also abort, as long as a thread was in
    ONNX Runtime. Ray has exit handlers, so with it the process ends as usual.

    While a stream is received, the process ends at once, too: FFmpeg can wait for data for seconds, and crashes in a
    thread that outlives the interpreter.
    """
    sys.stderr.flush()
    network = sys.modules.get("sedkit.audio.network")
    analysed = sys.argv[1:2] and sys.argv[1] in QUICK and "ray" not in sys.modules
    if analysed or (network and network.is_receiving()):
        os._exit(code)
    sys.exit(code)


def end_orderly() -> None:
    """Let SIGTERM and SIGHUP end the process as Ctrl-C does, unless whoever started it has set them (``nohup``)."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise Terminated(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def flush_stdout() -> int:
    """Write what is still buffered for standard output; returns the exit code, 0 if that works.

    The interpreter would print a warning with a traceback, and exit with 120.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        mute_stdout()
        return 141
    except OSError as error:
        return unwritable(error)
    return 0


def unwritable(error: OSError) -> int:
    """Say that standard output cannot be written; returns the exit code.

    Only there, and not in files (:func:`sedkit.cli.output.write_errors`), does a failed write come as it is.
    """
    mute_stdout()
    print_error(f"standard output cannot be written: {error.strerror}")
    return 1
