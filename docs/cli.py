"""Writes docs/cli.md from the commands' own --help: ``python docs/cli.py``."""

from __future__ import annotations

from pathlib import Path

import click

from sedkit.cli import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100

OPENING = """\
<!-- Written by docs/cli.py from the commands' --help. Edit those, then run: python docs/cli.py -->

# The command line

Standard output holds results and nothing else; notices, errors and progress go to standard error.
The output formats are described in [formats.md](formats.md).

| exit code | meaning |
|---|---|
| 0 | all went well |
| 1 | something failed: one line on standard error for each recording, after the others are done |
| 2 | wrong usage |
| 130 | interrupted with Ctrl-C |
| 141 | whoever read standard output went away, as `head` does |

With `--output`, results are gathered in `FILE.partial` and appear as `FILE` when the run is over. A run that is cut
short leaves what it had in `FILE.partial` and says so; the old `FILE`, if there was one, is not touched.

`NO_COLOR` turns colours off. `SEDKIT_DEBUG=1` shows the traceback of an unexpected error.
"""


def page() -> str:
    """The whole of docs/cli.md."""
    root = click.Context(main, info_name="sedkit", **main.context_settings)
    parts = [OPENING, section("sedkit", main, root)]
    for name in main.list_commands(root):
        command = main.get_command(root, name)
        assert command is not None
        parts.append(section(f"sedkit {name}", command, click.Context(command, info_name=name, parent=root)))
    return "\n".join(parts)


def section(title: str, command: click.Command, context: click.Context) -> str:
    context.terminal_width = WIDTH
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
