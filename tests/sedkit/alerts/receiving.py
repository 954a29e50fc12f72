"""What the tests of actions need: alerts, notices, a HTTP receiver that can fail, and waiting for other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sedkit.alerts.alert import Alert

START = datetime(2026, 6, 1, 12, tzinfo=UTC)


def alert(onset: float = 3.2, rule: str = "Dog", offset: float | None = None) -> Alert:
    return Alert(rule, "-", "Dog", "/m/0bt9lr", onset, START + timedelta(seconds=onset), 0.8, offset)


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait for another thread; a minute is for a loaded machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Receiver:
    """A HTTP server that answers with the given statuses, then with 204. It can be stopped and started again.

    Attributes
    ----------
    requests : headers and body of each.
    hold : while it is not set, answers wait.
    """

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.requests = list(statuses), list[tuple[Any, bytes]]()
        self.hold = threading.Event()
        self.hold.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.headers, body))
                receiver.hold.wait(60)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.handler, self.port = Handler, 0
        self.start()

    def start(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=hidden"
