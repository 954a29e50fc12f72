"""Connections on which no request arrives, or something else.

They are closed, so that they take no place from others (slow loris), and what is no request is refused.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Response
from websockets.server import ServerProtocol

HEADER_SECONDS = 10.0  # until the header of a request must be complete, from the connection or the last answer on
INVALID = json.dumps({"error": "this is no valid HTTP request; check the program that sends it"}).encode()


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with a time limit for the headers of requests, and errors in JSON."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._check = self.loop.call_later(HEADER_SECONDS, self._close_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        self._check.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._check.cancel()
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, unless an answer has begun, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            length = str(len(INVALID))
            headers = [("Content-Type", "application/json"), ("Content-Length", length), ("Connection", "close")]
            response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (response, h11.Data(data=INVALID), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True  # it may be about to answer
        self.transport.close()

    def _close_if_idle(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        idle = 0.0 if busy else self.loop.time() - self._idle_since
        if idle >= HEADER_SECONDS or self.transport.is_closing():  # it may wait for a client that does not read
            self.transport.abort()
        else:
            self._check = self.loop.call_later(max(0.1, HEADER_SECONDS - idle), self._close_if_idle)


class JsonHandshake(ServerProtocol):
    """The WebSocket protocol of a connection, which refuses handshakes in JSON."""

    def reject(self, status: Any, text: str) -> Response:
        response = super().reject(status, json.dumps({"error": " ".join(text.split())}, ensure_ascii=False))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response


class ListeningProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with errors in JSON."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn = JsonHandshake(max_size=self.config.ws_max_size, logger=self.logger)
