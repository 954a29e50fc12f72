"""Building a page from its template, its data and its scripts."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

STYLES = {"timeline": ("page.css", "timeline.css"), "tags": ("page.css", "tags.css")}
SCRIPTS = {
    "timeline": (
        "data.js", "scores.js", "axis.js", "drawing.js", "player.js", "editing.js", "table.js", "timeline.js",
        "controls.js", "start.js",
    ),
    "tags": ("data.js", "tags.js"),
}  # fmt: skip
SLOT = re.compile(r"\{\{(\w+)\}\}")


def build(name: str, data: Mapping[str, Any], audio: bytes = b"") -> str:
    """A complete page.

    Parameters
    ----------
    name : ``"timeline"`` or ``"tags"``.
    data : what the scripts read, as one JSON block; ``data["title"]`` is the title of the page.
    audio : bytes of the audio that the page contains.
    """
    style, script = assets(STYLES[name]), assets(SCRIPTS[name])
    parts = {
        "policy": policy(script, style),
        "title": html.escape(data["title"]),
        "style": style,
        "data": json_block(data),
        "audio": base64.b64encode(audio).decode(),
        "script": script,
    }
    return SLOT.sub(lambda slot: parts[slot[1]], assets((f"{name}.html",)))


def policy(script: str, style: str) -> str:
    """The content security policy: the page's own script and style, local media, and nothing from the network."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'; "
        "media-src 'self' blob: file:; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def json_block(data: Mapping[str, Any]) -> str:
    """JSON in ASCII that cannot end the element that it is in, whatever the names of files and classes are."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def body_of(name: str) -> str:
    """What a page shows, without its data, audio and script: for a page of a server, which has them elsewhere."""
    template = assets((f"{name}.html",))
    body = template[template.index("<body>") + len("<body>") : template.index("<script")]
    return body.strip()


@cache
def assets(names: tuple[str, ...]) -> str:
    """The text of some files of ``assets/``, one after the other."""
    folder = files("sedkit.formats.html").joinpath("assets")
    return "\n".join(folder.joinpath(name).read_text("utf-8").strip() for name in names)
