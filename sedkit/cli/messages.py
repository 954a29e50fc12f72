"""One-line messages on standard error."""

from __future__ import annotations

import click


def print_error(message: str) -> None:
    """Print ``sedkit: error: MESSAGE``, on one line."""
    print_notice(f"error: {message}")


def print_notice(message: str) -> None:
    """Print ``sedkit: MESSAGE``, on one line; names of files may have line breaks."""
    click.echo(f"sedkit: {' '.join(message.split())}", err=True)


def print_unknown_starts(unknown: int, total: int) -> None:
    """Print the notice of ``--absolute-time`` about recordings whose start is unknown."""
    print_notice(f"{unknown} of {total} recordings do not say when they began; --start says it of one")
