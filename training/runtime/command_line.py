"""What all commands share: errors in one line."""

from __future__ import annotations

from typing import Any

import click

from sedkit.errors import SedkitError


class Commands(click.Group):
    """A group of commands that prints a ``SedkitError`` as one line and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SedkitError as error:
            raise click.ClickException(str(error)) from None
