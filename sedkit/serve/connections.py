"""Connections on which no request arrives: they are closed, so that they take no place from others (slow loris)."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0  # until the header of a request must be complete, from the connection or the last answer on


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP protocol, with a time limit for the headers of requests."""

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

    def _close_if_idle(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        idle = 0.0 if busy else self.loop.time() - self._idle_since
        if idle >= HEADER_SECONDS or self.transport.is_closing():  # it may wait for a client that does not read
            self.transport.abort()
        else:
            self._check = self.loop.call_later(max(0.1, HEADER_SECONDS - idle), self._close_if_idle)
