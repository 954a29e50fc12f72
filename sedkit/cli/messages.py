"""One-line messages on standard error."""

from __future__ import annotations

import click


def print_error(message: str) -> None:
    """Print ``sedkit: error: MESSAGE``, on one line."""
    print_notice("error: " + " ".join(message.split()))


def print_notice(message: str) -> None:
    """Print ``sedkit: MESSAGE``."""
    click.echo(f"sedkit: {message}", err=True)
