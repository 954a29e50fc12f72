"""uvicorn: sockets, signals, and a shutdown that lets requests under way finish."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn

from sedkit.errors import SedkitError
from sedkit.serve.connections import ListeningProtocol, PatientProtocol

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from sedkit.serve.service import Service

SPARE_CONNECTIONS = 128  # beside those of recordings and live streams: for pages, /healthz, and refusals
BACKLOG = 512  # connections that the system accepts ahead
LARGEST_MESSAGE = 1 << 20  # bytes of live audio in one message
LAST_SECONDS = 0.2  # for the headers of the last requests, which are refused
FORCED_SECONDS = 1.0  # for the last answers, after a second Ctrl-C


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises
    ------
    SedkitError
        If the address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SedkitError(
            f"{host}, port {port}: cannot be served ({error.strerror}); choose another --host or --port"
        ) from None
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each small answer takes 40 ms
    return listening


def address(listening: socket.socket) -> str:
    """The address of the page, for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server. A signal ends it, but is not raised again at the end, since the shutdown was clean.

    Parameters
    ----------
    app : answers requests.
    service : is told when the shutdown begins, and has the limits.
    """

    def __init__(self, app: Starlette, service: Service) -> None:
        limits = service.limits
        super().__init__(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                ws=ListeningProtocol,
                ws_max_size=LARGEST_MESSAGE,
                ws_per_message_deflate=False,
                limit_concurrency=limits.queue + limits.listeners + SPARE_CONNECTIONS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=round(limits.timeout) + 30,
                log_config=None,
                log_level="error",  # tracebacks of unexpected errors; clients are told what they do wrong
                access_log=False,
                server_header=False,
                proxy_headers=False,
            )
        )
        self.service = service

    def run_on(self, listening: socket.socket) -> None:
        """Serve until a signal comes, or ``should_exit`` is set."""
        asyncio.run(self.serve(sockets=[listening]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.stopping = True
        await self._accept_last(sockets or [])
        await asyncio.sleep(LAST_SECONDS)
        await super().shutdown(sockets)
        if self.force_exit:  # a second Ctrl-C: all requests are answered now
            self.service.engine.cancel()
            until = time.monotonic() + FORCED_SECONDS
            while self.server_state.tasks and time.monotonic() < until:
                await asyncio.sleep(0.02)
            await self.lifespan.shutdown()

    async def _accept_last(self, sockets: list[socket.socket]) -> None:
        """Accept the connections that wait, and stop listening, which would reset those."""
        waiting = list[socket.socket]()
        for listening in sockets:
            with suppress(OSError):  # no more of them, or too many files are open
                while True:
                    waiting.append(listening.accept()[0])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        accepted = (loop.connect_accepted_socket(self._protocol, connection) for connection in waiting)
        await asyncio.gather(*accepted, return_exceptions=True)

    def _protocol(self) -> PatientProtocol:
        return PatientProtocol(self.config, self.server_state, self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        handled = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))  # Windows has no SIGHUP
        try:
            before = {number: signal.signal(number, self.handle_exit) for number in handled if number is not None}
        except ValueError:  # not the main thread
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
