"""What holds for every request: who may ask, the headers of every response, and time limits for those who listen."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from sedkit.serve.hosts import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from sedkit.serve.metrics import Metrics

PROTECTED = ("/v1/", "/page/", "/metrics")
NOTHING_HERE = "there is nothing at this address; /docs lists all"
WRITE_SECONDS = 30.0  # that a client may take for each 64 kB of an answer
PROTOCOL = "sedkit"  # of WebSockets; browsers send a token beside it, since they cannot set headers
TOKEN_PREFIX = "token."
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


class Guard:
    """ASGI middleware.

    Without a token, a request must come from this server's own pages or from a program: pages of other sites have
    another origin. On a loopback address, the request must also name the loopback address, or a site could give its own
    name this address and pass for the server (DNS rebinding).

    Parameters
    ----------
    token : that clients must send; None for none.
    loopback : whether the server listens on a loopback address.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, paths: frozenset[str], token: str | None, loopback: bool
    ) -> None:
        self.app, self.metrics, self.paths, self.token, self.loopback = app, metrics, paths, token, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path, start, status = scope["path"], time.monotonic(), 0

        async def guarded_send(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "websocket.close" and not status:  # Starlette has no such WebSocket
                await JSONResponse({"error": NOTHING_HERE}, 404)(scope, receive, guarded_send)
                return
            async with asyncio.timeout(WRITE_SECONDS):
                await send(message)

        try:
            refusal = self.refusal(scope)
            if refusal is None:
                with suppress(ClientDisconnect, TimeoutError):  # the client left, or does not read its answer
                    await self.app(scope, receive, guarded_send)
            else:
                headers = {"WWW-Authenticate": "Bearer"} if refusal[0] == 401 else {}
                await JSONResponse({"error": refusal[1]}, refusal[0], headers)(scope, receive, guarded_send)
        finally:
            known = path if path in self.paths else "other"
            self.metrics.requests.labels(known, status or 499).inc()
            self.metrics.seconds.labels(known).observe(time.monotonic() - start)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the message with which a request is refused; None if it is not."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.token is not None:
            if scope["path"].startswith(PROTECTED) and not self._has_token(headers):
                return 401, "the token is missing or wrong; send it in the header Authorization: Bearer TOKEN"
            return None
        if self.loopback and not is_loopback(_name(host)):
            return 421, "this server answers to localhost only; start it with --token to serve other names"
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "pages of other sites may not use this server; start it with --token to let programs in"
        return None

    def _has_token(self, headers: Mapping[str, Any]) -> bool:
        assert self.token is not None
        kind, _, word = headers.get("authorization", "").partition(" ")
        given = word.strip().encode("latin-1")
        if kind.lower() != "bearer":
            offered = [word.strip() for word in headers.get("sec-websocket-protocol", "").split(",")]
            coded = next((word.removeprefix(TOKEN_PREFIX) for word in offered if word.startswith(TOKEN_PREFIX)), "")
            try:
                given = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
            except ValueError:
                given = b""
        return hmac.compare_digest(given, self.token.encode())


def _name(host: str) -> str:
    """The name in a header ``Host``, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
