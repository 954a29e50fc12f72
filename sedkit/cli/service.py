"""What a service manager is told: the protocol of ``sd_notify(3)``, a datagram per message."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress


def notify(*states: str) -> None:
    """Send states such as ``READY=1`` to the service manager, if there is one that asked for them."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.connect("\0" + address[1:] if address.startswith("@") else address)
        end.sendall("\n".join(states).encode())


class Watchdog:
    """Tells the service manager that all is well, twice as often as it asks (``WatchdogSec=``)."""

    def __init__(self) -> None:
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.seconds = int(microseconds) / 2e6 if microseconds.isdecimal() and mine else None
        self.latest = 0.0

    def feed(self) -> None:
        """Call this as often as you like."""
        if self.seconds is not None and time.monotonic() - self.latest >= self.seconds:
            self.latest = time.monotonic()
            notify("WATCHDOG=1")
