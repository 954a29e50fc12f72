"""Options of which one leaves out the others: those of the command line count before those of a preset."""

from __future__ import annotations

import click
from click.core import ParameterSource

GIVEN, PRESET = ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP


def settle_stages(ctx: click.Context) -> None:
    """``--stage`` on the command line leaves out a preset's stages, and ``--stages`` or ``--alpha`` a preset's stage.

    Raises
    ------
    click.BadParameter
        If the command line has both ``--stage`` and ``--alpha``.
    """
    source = {name: ctx.get_parameter_source(name) for name in ("stage", "stages", "alpha")}
    if source["stage"] is GIVEN:
        if source["alpha"] is GIVEN:
            raise click.BadParameter("--stage has the weights; leave it out", ctx, param_hint="--alpha")
        if source["stages"] is PRESET:
            ctx.params["stages"] = None
    elif source["stage"] is PRESET and GIVEN in (source["stages"], source["alpha"]):
        ctx.params["stage"] = ()
