"""``sedkit serve``: a page to drop recordings on, and an HTTP server."""

from __future__ import annotations

import os
import re
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from sedkit.cli import options, parameters
from sedkit.cli.messages import print_notice
from sedkit.errors import AudioWarning, SedkitError
from sedkit.serve.hosts import is_loopback

if TYPE_CHECKING:
    from pathlib import Path

    from sedkit.inference.installed import Precision
    from sedkit.inference.session import Device
    from sedkit.serve.limits import Limits
    from sedkit.serve.server import Server
    from sedkit.tagger import Tagger

MODULES = ("starlette", "uvicorn", "websockets", "python_multipart", "prometheus_client")
MEGABYTE = 1_000_000


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    metavar="N",
    help="Port to listen on; 0 for any that is free.",
)
@options.loading
@click.option(
    "--token",
    envvar="SEDKIT_TOKEN",
    metavar="TEXT",
    help="Serve only those who send this token (Authorization: Bearer TEXT). Default: $SEDKIT_TOKEN, which other users "
    "of this machine cannot read.",
)
@click.option("--no-auth", is_flag=True, help="Serve everybody who reaches an --host other than this machine's own.")
@click.option(
    "--max-size",
    type=parameters.Number(min=0, min_open=True),
    default=500.0,
    show_default=True,
    metavar="MB",
    help="Refuse larger requests.",
)
@click.option(
    "--max-duration",
    type=parameters.Number(min=1),
    default=14400.0,
    show_default=True,
    metavar="SECONDS",
    help="Refuse longer recordings.",
)
@click.option(
    "--timeout",
    type=parameters.Number(min=1),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up an analysis that takes longer, waiting included.",
)
@click.option(
    "--queue",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Refuse more than N recordings at the same time; clients are told to try again.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    host: str,
    port: int,
    model: str | None,
    precision: Precision,
    device: Device,
    token: str | None,
    no_auth: bool,
    max_size: float,
    max_duration: float,
    timeout: float,
    queue: int,
) -> None:
    """Serve a page to drop recordings on, and an HTTP interface.

    The page shows what occurs when, plays it, and lets people correct and download it. Programs send recordings to
    POST /v1/tag and POST /v1/timeline, and live audio to the WebSocket /v1/listen; /docs describes them, and
    docs/serve.md has examples.

    Needs an extra: pip install 'sedkit-audio[serve]'

    Only this machine is served, unless --host is another address, which needs --token or --no-auth. Recordings are
    kept in memory or in temporary files without a name until they are answered. Ctrl-C and SIGTERM end the server when
    the requests under way are answered.

    \b
    Examples:
      sedkit serve
      sedkit serve --model small --port 9000
      SEDKIT_TOKEN=secret sedkit serve --host 0.0.0.0
      curl -F file=@clip.wav http://127.0.0.1:8765/v1/timeline
    """
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise click.UsageError("the token must be ASCII letters, digits and signs without spaces, and not empty.")
    if token is not None and no_auth:
        raise click.UsageError("--token and --no-auth contradict each other; give one of them.")
    loopback = is_loopback(host)
    if not (loopback or token or no_auth):
        raise click.UsageError(
            f"{host} can be reached from other machines; protect it with --token, or serve everybody with --no-auth."
        )
    check_extra()
    from sedkit.cli.batch import load_tagger
    from sedkit.cli.service import notify
    from sedkit.inference.installed import find_model
    from sedkit.serve.limits import Limits
    from sedkit.serve.server import address, bind

    limits = Limits(max_size=round(max_size * MEGABYTE), max_duration=max_duration, timeout=timeout, queue=queue)
    tagger = load_tagger(find_model(model, precision, device), device, threads=1)
    with bind(host, port) as listening:
        server = make_server(tagger, limits, token, loopback)
        warnings.simplefilter("ignore", AudioWarning)  # of live streams; they concern the client, not the server
        os.chdir(os.path.abspath(os.sep))  # some formats hold absolute paths, which then do not tell where this is
        print_notice(f"{tagger.contract.name} listens on {address(listening)} (Ctrl-C ends it)")
        notify("READY=1", f"STATUS=listening on {address(listening)}")
        server.run_on(listening)
    if server.force_exit:
        raise KeyboardInterrupt
    print_notice("all requests are answered")


def check_extra() -> None:
    """Refuse to start without the packages of the extra.

    Raises
    ------
    SedkitError
        If one is missing.
    """
    for module in MODULES:
        if find_spec(module) is None:
            from sedkit.install import install_remedy

            raise SedkitError(f"sedkit serve needs {module}, which is not installed: {install_remedy('serve')}")


def make_server(tagger: Tagger, limits: Limits, token: str | None, loopback: bool) -> Server:
    """The server, which is not listening yet."""
    from sedkit.cli.queries import ListenQuery, TagQuery, TimelineQuery
    from sedkit.serve.app import create_app
    from sedkit.serve.server import Server
    from sedkit.serve.service import Analyses, Service

    analyses = Analyses(tag=TagQuery(tagger), timeline=TimelineQuery(tagger), listen=ListenQuery(tagger))
    service = Service(tagger, analyses, limits)
    return Server(create_app(service, model_record(tagger.model.path), token, loopback), service)


def model_record(path: Path) -> dict[str, Any]:
    """The facts about the model: those of ``sedkit models --format json`` that do not tell where it is."""
    from sedkit.cli import describe

    model = describe.model(path)
    return {
        "name": path.stem,
        "precision": model["precision"],
        "size": model["size"],
        "classes": len(model["labels"]),
        "license": model["license"],
        "metrics": model["lineage"].get("metrics", {}),
        "labels": model["labels"],
    }
