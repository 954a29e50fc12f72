"""Dispatch of ``tag`` and ``timeline``: run in this process (``batch``) or on a Ray cluster (``cluster``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli.batch import run_locally
from sedkit.cli.run_options import RunOptions
from sedkit.formats.writers import Kind

if TYPE_CHECKING:
    from sedkit.cli.batch import MakeViewFactory


def run(
    kind: Kind,
    make_view_factory: MakeViewFactory,
    own_options: Mapping[str, Any],
    files: Sequence[str],
    options: RunOptions,
) -> int:
    """Analyse recordings with the chosen engine; returns the exit code. See :func:`sedkit.cli.batch.run_locally`."""
    if options.engine == "ray":
        from sedkit.cli.cluster import run_on_cluster

        return run_on_cluster(kind, make_view_factory, own_options, files, options)
    if options.address is not None:
        raise click.UsageError("--address needs --engine ray.")
    return run_locally(kind, make_view_factory, own_options, files, options)
