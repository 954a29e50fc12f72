"""Types of values on the command line of a training: widths of the network, temperatures of teachers."""

from __future__ import annotations

from typing import Any

import click

from training.networks.wels import FILTERS, Width

POSITIVE = click.FloatRange(0, min_open=True)


class WidthType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """A factor above 0, or the numbers of filters of B1 to L2, each at least 1."""

    name = "FACTOR|FILTERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Width:
        """``value`` as a number or a list of six numbers."""
        if not isinstance(value, str):
            return POSITIVE(value, param, ctx) if isinstance(value, int | float) else value
        if "," not in value:
            return float(POSITIVE(value, param, ctx))
        counts: list[int] = [click.IntRange(1)(count, param, ctx) for count in value.split(",")]
        if len(counts) != len(FILTERS):
            self.fail(f"{value!r}: give {len(FILTERS)} numbers of filters, for B1, B2, B3, B4, L1 and L2", param, ctx)
        return counts


class Temperatures(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """Teachers and numbers above 0: ``yamnet=2,0=0.5``."""

    name = "TEACHER=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """``value`` as a dictionary."""
        if not isinstance(value, str):
            return dict(value)
        pairs = [part.partition("=") for part in value.split(",") if part]
        return {name.strip(): float(POSITIVE(number, param, ctx)) for name, _, number in pairs}
