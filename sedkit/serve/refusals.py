"""Why a request is refused."""

from __future__ import annotations

from collections.abc import Mapping

from sedkit.errors import ArgumentError, AudioError, OutputError, SedkitError

RETRY_SECONDS = "2"


class Refusal(SedkitError):
    """A request is refused.

    Attributes
    ----------
    status : of the response, as in HTTP.
    headers : of the response.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


def busy(status: int, message: str) -> Refusal:
    """A refusal of what would be accepted later."""
    return Refusal(status, message, {"Retry-After": RETRY_SECONDS})


def refusal_of(error: SedkitError) -> Refusal:
    """What a client is told about an error."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, ArgumentError):
        return Refusal(400, str(error))
    if isinstance(error, AudioError):
        return Refusal(422, str(error))
    if isinstance(error, OutputError):
        return Refusal(501, str(error))
    return Refusal(500, str(error))
