"""Options of which one leaves out the others: those of the command line count before those of a preset."""

from __future__ import annotations

import click
from click.core import ParameterSource

GIVEN, PRESET = ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP


def settle_stages(ctx: click.Context) -> None:
    """``--stage`` of the command line leaves out a preset's stages, and ``--stages`` or ``--alpha`` its stage.

    The alpha of a preset does not count beside a stage, wherever that comes from.

    Raises
    ------
    click.BadParameter
        If the command line has both ``--stage`` and ``--alpha``.
    """
    source = {name: ctx.get_parameter_source(name) for name in ("stage", "stages", "alpha")}
    if source["stage"] is GIVEN and source["alpha"] is GIVEN:
        raise click.BadParameter("leave it out beside --stage, which has the weights", ctx, param_hint="--alpha")
    if source["stage"] is GIVEN and source["stages"] is PRESET:
        _leave_out(ctx, "stages", None)
    elif source["stage"] is PRESET and GIVEN in (source["stages"], source["alpha"]):
        _leave_out(ctx, "stage", ())
    if ctx.get_parameter_source("stage") in (GIVEN, PRESET):
        ctx.set_parameter_source("alpha", ParameterSource.DEFAULT)  # so that no run is given it


def _leave_out(ctx: click.Context, name: str, default: object) -> None:
    ctx.params[name] = default
    ctx.set_parameter_source(name, ParameterSource.DEFAULT)
