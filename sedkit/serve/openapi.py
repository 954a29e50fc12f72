"""The description of the interface: OpenAPI for programs, a page for people."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from sedkit.serve.analyses import Parameter

AUDIO = {"schema": {"type": "string", "format": "binary"}}
FORM = {"schema": {"type": "object", "required": ["file"], "properties": {"file": AUDIO["schema"]}}}
NAME = Parameter("name", {"type": "string"}, "Name of the recording. Default: that of the file in the form.")
LISTEN = "/v1/listen"
ERRORS = {
    "400": "A parameter or the form is wrong.",
    "401": "The token is missing or wrong.",
    "408": "The request came too slowly.",
    "413": "The recording is too large or too long.",
    "415": "The request is compressed.",
    "422": "The recording cannot be decoded.",
    "429": "Too many recordings wait; Retry-After says when to try again.",
    "501": "The server lacks a package that the format needs.",
    "503": "The analysis took too long, or the server is shutting down.",
    "507": "The server's disk is full.",
}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def document(
    version: str, tag: Sequence[Parameter], timeline: Sequence[Parameter], live: Sequence[Parameter], token: bool
) -> dict[str, Any]:
    """The OpenAPI document.

    Parameters
    ----------
    tag, timeline, live : the parameters of the three kinds of requests.
    token : whether clients must send one.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sedkit",
            "version": version,
            "description": "Sound event detection: what is in a recording, and when.",
        },
        "paths": {
            "/v1/tag": {"post": _analysis("Name the sounds in a recording, highest score first", "tag", tag)},
            "/v1/timeline": {"post": _analysis("Find out which sounds occur when", "timeline", timeline)},
            LISTEN: {
                "get": {
                    "operationId": "listen",
                    "summary": "Live audio (WebSocket): raw samples in binary messages in, records in JSON out",
                    "description": "A text message ends the audio: the last records follow, then the connection is "
                    "closed. The records are those of sedkit listen --format jsonl; a record of the type error, with "
                    "a message, ends the connection.",
                    "parameters": [_parameter(parameter) for parameter in (*live, NAME)],
                    "responses": {"101": {"description": "The connection is a WebSocket now."}},
                }
            },
            "/v1/models": {"get": _simple("models", "The model that is loaded, and its classes")},
            "/healthz": {"get": _simple("health", "Whether the server works: 200, otherwise 503")},
            "/metrics": {"get": _simple("metrics", "Counters for Prometheus")},
        },
        "components": {"schemas": {"Error": ERROR}, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}] if token else [],
    }


def _analysis(summary: str, name: str, parameters: Sequence[Parameter]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [_parameter(parameter) for parameter in (*parameters, NAME)],
        "requestBody": {
            "required": True,
            "description": "The recording, in any format: as the body, or as the only file of a form.",
            "content": {"application/octet-stream": AUDIO, "multipart/form-data": FORM},
        },
        "responses": {
            "200": {
                "description": f"The result; by default the JSON of sedkit {name} --format json.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **{status: {"description": text, "content": error} for status, text in ERRORS.items()},
        },
    }


def _simple(name: str, summary: str) -> dict[str, Any]:
    return {"operationId": name, "summary": summary, "responses": {"200": {"description": "The answer."}}}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    required = {"required": True} if parameter.name == "rate" else {}
    about = {"description": parameter.text, "schema": dict(parameter.schema)}
    return {"name": parameter.name, "in": "query", **required, **about}


def page(document: Mapping[str, Any]) -> str:
    """The description as HTML, which loads one style sheet of this server."""
    parts = [
        _operation(path, method, about) for path, one in document["paths"].items() for method, about in one.items()
    ]
    errors = "".join(f"<dt>{status}</dt><dd>{html.escape(text)}</dd>" for status, text in ERRORS.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>HTTP interface · sedkit</title>
<link rel="icon" href="/assets/icon.svg">
<link rel="stylesheet" href="/assets/serve.css">
</head>
<body class="manual">
<header class="top"><div class="names"><h1>HTTP interface of sedkit {html.escape(document["info"]["version"])}</h1>
<p class="quiet"><a href="/">Analyse a recording</a> · <a href="/openapi.json">OpenAPI</a></p></div></header>
<main>
<pre>curl -F file=@clip.wav 'http://localhost:8765/v1/timeline?threshold=0.3'
curl --data-binary @clip.wav 'http://localhost:8765/v1/tag?name=clip.wav&amp;format=csv'</pre>
{"".join(parts)}
<section><h2>Errors</h2><p>The body of an error is <code>{{"error": "one line"}}</code>.</p><dl>{errors}</dl></section>
</main>
</body>
</html>
"""


def _operation(path: str, method: str, about: Mapping[str, Any]) -> str:
    verb = "WebSocket" if path == LISTEN else method.upper()
    rows = "".join(
        f"<tr><th scope='row'><code>{one['name']}</code></th><td>{html.escape(_values(one['schema']))}</td>"
        f"<td>{html.escape(one['description'])}</td></tr>"
        for one in about.get("parameters", ())
    )
    head = (
        "<thead><tr><th scope='col'>Parameter</th><th scope='col'>Values</th><th scope='col'>Meaning</th></tr></thead>"
    )
    table = f"<div class='wide-table' tabindex='0' role='region' aria-label='Parameters of {path}'>" if rows else ""
    table += f"<table>{head}<tbody>{rows}</tbody></table></div>" if rows else ""
    more = f"<p>{html.escape(about['description'])}</p>" if "description" in about else ""
    title = f"<h2><code>{verb} {path}</code></h2><p>{html.escape(about['summary'])}.</p>"
    return f"<section>{title}{more}{table}</section>\n"


def _values(schema: Mapping[str, Any]) -> str:
    if schema["type"] == "array":
        return f"{_values(schema['items'])}; repeatable"
    words = [", ".join(schema["enum"]) if "enum" in schema else str(schema["type"])]
    words += [f"at least {schema['minimum']:g}"] if "minimum" in schema else []
    words += [f"at most {schema['maximum']:g}"] if "maximum" in schema else []
    return ", ".join(words) + (f"; default {schema['default']}" if "default" in schema else "")
