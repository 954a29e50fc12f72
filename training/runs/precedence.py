"""Options of which one leaves out the others: those of the command line count before those of a preset."""

from __future__ import annotations

import click
from click.core import ParameterSource

GIVEN, PRESET = ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP


def settle_stages(ctx: click.Context) -> None:
    """``--stage`` of the command line leaves out a preset's stages, and ``--stages`` or ``--alpha`` its stage."""
    source = {name: ctx.get_parameter_source(name) for name in ("stage", "stages", "alpha")}
    if source["stage"] is GIVEN and source["stages"] is PRESET:
        _leave_out(ctx, "stages", None)
    elif source["stage"] is PRESET and GIVEN in (source["stages"], source["alpha"]):
        _leave_out(ctx, "stage", ())


def _leave_out(ctx: click.Context, name: str, default: object) -> None:
    ctx.params[name] = default
    ctx.set_parameter_source(name, ParameterSource.DEFAULT)
