"""Names and addresses of this machine."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a name or an address reaches this machine only."""
    try:
        return ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"
