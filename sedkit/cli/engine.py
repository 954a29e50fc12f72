"""Dispatch of ``tag`` and ``timeline``: run in this process (``batch``) or on a Ray cluster (``cluster``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from sedkit.cli.batch import run_locally
from sedkit.formats import Kind

if TYPE_CHECKING:
    from sedkit.cli.batch import ViewFactory
    from sedkit.tagger import Tagger


def run(
    kind: Kind,
    make_view_factory: Callable[[Tagger, list[str] | None], ViewFactory],
    options: Mapping[str, Any],
    files: Sequence[str],
    *,
    engine: Literal["local", "ray"],
    address: str | None,
    **shared: Any,
) -> int:
    """Analyse recordings with the chosen engine.

    Parameters
    ----------
    engine, address : the options ``--engine`` and ``--address``.
    kind, make_view_factory, options, files, **shared : see :func:`sedkit.cli.batch.run_locally`.

    Returns
    -------
    The exit code.
    """
    if engine == "ray":
        from sedkit.cli.cluster import run_on_cluster

        return run_on_cluster(kind, make_view_factory, options, files, address=address, **shared)
    if address is not None:
        raise click.UsageError("--address needs --engine ray.")
    return run_locally(kind, make_view_factory, options, files, **shared)
