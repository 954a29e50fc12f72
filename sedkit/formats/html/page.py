"""Building a page from its template, its data and its scripts."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
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
ENCODED = 3 << 14  # bytes of audio that are encoded at once; a multiple of 3


def build(name: str, data: Mapping[str, Any], audio: bytes = b"") -> Iterator[str]:
    """A complete page, in parts to write one after the other: its audio may be large.

    Parameters
    ----------
    name : ``"timeline"`` or ``"tags"``.
    data : what the scripts read, as one JSON block; ``data["title"]`` is the title of the page.
    audio : bytes of the audio that the page contains.
    """
    style, script = assets(STYLES[name]), assets(SCRIPTS[name])
    values = {
        "policy": policy(script, style),
        "title": html.escape(data["title"]),
        "style": style,
        "data": json_block(data),
        "script": script,
    }
    texts_and_slots = SLOT.split(assets((f"{name}.html",)))  # text, name of a slot, text, ...
    for number, part in enumerate(texts_and_slots):
        if number % 2 == 0:
            yield part
        elif part == "audio":
            for start in range(0, len(audio), ENCODED):
                yield base64.b64encode(audio[start : start + ENCODED]).decode("ascii")
        else:
            yield values[part]


@cache
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
