"""The action ``webhook``: an HTTP request with the alert as JSON."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from sedkit.alerts.alert import Alert
from sedkit.alerts.sink import QueuedSink, SinkError
from sedkit.errors import SedkitError

if TYPE_CHECKING:
    import httpx

TIMEOUT = 10.0  # seconds, of one attempt
RETRIES = 4
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds between attempts; each wait is twice as long as the one before
TRANSIENT = {408, 425, 429}  # these, and 5xx: another attempt may succeed
SIGNATURE = "X-Sedkit-Signature"


class Webhook(QueuedSink[Alert]):
    """Sends each alert by POST.

    Parameters
    ----------
    name, on_notice : as for :class:`Sink`.
    url : of the receiver. Notices name its host only.
    token : for ``Authorization: Bearer``.
    secret : for ``X-Sedkit-Signature: sha256=HEX``, the HMAC-SHA256 of the body.
    timeout, retries, first_wait : seconds for one attempt; further attempts; seconds until the first of these.

    Raises
    ------
    SedkitError
        If httpx is not installed.
    """

    def __init__(
        self,
        name: str,
        on_notice: Callable[[str], None],
        url: str,
        token: str | None = None,
        secret: str | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        try:
            import httpx
        except ModuleNotFoundError:
            from sedkit.install import install_remedy

            raise SedkitError(f"a webhook needs the package httpx: {install_remedy('alerts')}") from None
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self.url, self.secret, self.retries, self.first_wait = httpx.URL(url), secret, retries, first_wait
        self.client = httpx.Client(timeout=timeout, headers=headers)
        super().__init__(name, on_notice)

    def begin(self, alert: Alert) -> None:
        self.put(alert)

    def deliver(self, alert: Alert) -> None:
        body = json.dumps(alert.to_dict(), ensure_ascii=False).encode()
        headers = {}
        if self.secret:
            headers[SIGNATURE] = "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        wait = self.first_wait
        for attempt in range(self.retries + 1):
            cause, again = self._attempt(body, headers)
            if cause is None:
                return
            if not again or attempt == self.retries or self.closing.wait(wait):
                break
            wait = min(2 * wait, LONGEST_WAIT)
        raise SinkError(f"{self.url.host}: {cause}")

    def _attempt(self, body: bytes, headers: dict[str, str]) -> tuple[str | None, bool]:
        """Send once: why that failed, None if it did not; and whether another attempt may succeed."""
        import httpx

        try:
            response: httpx.Response = self.client.post(self.url, content=body, headers=headers)
        except httpx.TimeoutException:
            return "no answer in time", True
        except httpx.LocalProtocolError:  # its text has the header, with the token
            return "the request is no valid HTTP; check the token", False
        except httpx.HTTPError as error:
            return str(error) or type(error).__name__, True
        if response.is_success:
            return None, False
        return f"answered {response.status_code}", response.status_code in TRANSIENT or response.is_server_error

    def close(self) -> None:
        super().close()
        self.client.close()
