"""The files of the page, read once at the start. A request can have these and no others."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from sedkit.formats.html.page import SCRIPTS, STYLES, assets, body_of

OWN_SCRIPTS = ("sending.js", "downloads.js", "microphone.js", "serve.js")
WORKLET = "capture.js"  # loaded by the browser's audio thread
SLOT = "<!-- timeline -->"  # in serve.html: where the page of a recording is


def site() -> dict[str, tuple[bytes, str]]:
    """Content and media type of each address of the page."""
    return {f"/{name}": (text.encode(), f"{kind}; charset=utf-8") for name, text, kind in _files()}


def _files() -> Iterator[tuple[str, str, str]]:
    yield "", _own("serve.html").replace(SLOT, body_of("timeline")), "text/html"
    yield "assets/serve.css", "\n".join([assets(STYLES["timeline"]), _own("serve.css")]), "text/css"
    shared = tuple(name for name in SCRIPTS["timeline"] if name != "start.js")
    script = "\n".join([assets(shared), *(_own(name) for name in OWN_SCRIPTS)])
    yield "assets/serve.js", script, "text/javascript"
    yield f"assets/{WORKLET}", _own(WORKLET), "text/javascript"
    yield "assets/icon.svg", _own("icon.svg"), "image/svg+xml"


def _own(name: str) -> str:
    return files("sedkit.serve").joinpath("assets", name).read_text("utf-8")
