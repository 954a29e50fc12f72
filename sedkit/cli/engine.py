"""Where ``tag`` and ``timeline`` run: in this process, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli.batch import run_here
from sedkit.formats import Kind

if TYPE_CHECKING:
    from sedkit.cli.batch import MakeView
    from sedkit.tagger import Tagger


def run(
    kind: Kind,
    view: Callable[[Tagger, list[str] | None], MakeView],
    options: Mapping[str, Any],
    files: Sequence[str],
    *,
    engine: Literal["local", "ray"],
    address: str | None,
    **shared: Any,
) -> int:
    """Analyse recordings here (:func:`run_here`) or on a cluster (:func:`sedkit.cli.cluster.run`)."""
    if engine == "ray":
        from sedkit.cli import cluster

        return cluster.run(kind, view, options, files, address=address, **shared)
    if address is not None:
        raise click.UsageError("--address goes with --engine ray.")
    return run_here(kind, view, options, files, **shared)
