"""What a client may ask for."""

from __future__ import annotations

from dataclasses import dataclass

LISTENERS = 16  # live streams at the same time


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of the server; a request beyond one of them is refused.

    Attributes
    ----------
    max_size : bytes of a request.
    max_duration : seconds of a recording.
    timeout : seconds that an analysis may take, waiting included.
    queue : recordings that are being uploaded, wait or are analysed at the same time.
    listeners : live streams at the same time.
    """

    max_size: int = 500_000_000
    max_duration: float = 4 * 3600.0
    timeout: float = 300.0
    queue: int = 64
    listeners: int = LISTENERS
