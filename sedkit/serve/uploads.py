"""The body of a request → a recording, in memory or in a temporary file.

The file has no name, so the system deletes it when it is closed, even if the process is killed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from email import message_from_bytes
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from sedkit.serve.refusals import Refusal

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks
    from starlette.requests import Request
    from starlette.types import Receive

IN_MEMORY = 1_000_000  # bytes of a recording that needs no file
GRACE, SLOWEST = 20.0, 10_000.0  # seconds until a body must come, and bytes per second that it must reach from then on
DRAINED, DRAIN_SECONDS = 16_000_000, 3.0  # of a refused body, so that its sender reads the answer
LONGEST_NAME = 255  # characters
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # or it prints what the client is told


class Body:
    """The body of a request.

    Parameters
    ----------
    receive : of the ASGI request.
    max_size : bytes.
    expected : bytes by the request's header; None if it does not say.
    """

    def __init__(self, receive: Receive, max_size: int, expected: int | None) -> None:
        self.receive, self.max_size, self.expected = receive, max_size, expected
        self.size, self.ended, self.left = 0, False, False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes as they come.

        Raises
        ------
        Refusal
            If there are too many, if they come too slowly, or if the client leaves.
        """
        if self.expected is not None and self.expected > self.max_size:
            raise self._too_large()
        start = time.monotonic()
        while not self.ended:
            patience = start + GRACE + self.size / SLOWEST - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, patience)):
                    chunk = await self._next()
            except TimeoutError:
                raise Refusal(408, "the request came too slowly; send it again over a faster connection") from None
            if self.left:
                raise Refusal(499, "the client has left")
            self.size += len(chunk)
            if self.size > self.max_size:
                raise self._too_large()
            yield chunk

    async def drain(self) -> None:
        """Read the rest, if it is not too much, so that the client can send it all and then reads the answer."""
        drained = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not (self.ended or self.left) and drained < DRAINED:
                    drained += len(await self._next())

    async def gone(self) -> None:
        """Return when the client leaves; for after the end of the body."""
        while not self.left:
            await self._next()

    async def _next(self) -> bytes:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.left = True
            return b""
        self.ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the request is larger than the {self.max_size} bytes that this server accepts")


class Upload:
    """A recording that a client sent; a context manager, which closes the file.

    Attributes
    ----------
    file : its bytes, from the start.
    name : that the client gives it; ``-`` if it has none.
    size : bytes.
    """

    def __init__(self) -> None:
        self.file = cast("BinaryIO", SpooledTemporaryFile(max_size=IN_MEMORY))  # noqa: SIM115
        self.name, self.size = "-", 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)

    def close(self) -> None:
        self.file.close()


def body_of(request: Request, max_size: int) -> Body:
    """The body of a request.

    Raises
    ------
    Refusal
        If it is compressed.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal(415, f"the request has the content encoding {coding!r}; send the recording as it is")
    length = request.headers.get("content-length", "")
    return Body(request.receive, max_size, int(length) if length.isdecimal() else None)


async def receive_recording(request: Request, body: Body) -> Upload:
    """Receive the recording of a request, which is its whole body or the only file of a form.

    Raises
    ------
    Refusal
        If there is none, or several; see also :meth:`Body.chunks`.
    """
    kind, fields = parse_options_header(request.headers.get("content-type", ""))
    upload = Upload()
    try:
        if kind == b"multipart/form-data":
            await _receive_form(body, fields.get(b"boundary", b""), upload)
        else:
            async for chunk in body.chunks():
                upload.write(chunk)
        if not upload.size:
            raise Refusal(400, "the request has no recording, or an empty one; send a file")
        given = request.query_params.get("name")
        upload.name = shown(upload.name if given is None else given)
        upload.file.seek(0)
    except OSError as error:
        upload.close()
        raise Refusal(507, f"the server cannot store the recording ({error.strerror}); try again later") from error
    except BaseException:
        upload.close()
        raise
    return upload


async def _receive_form(body: Body, boundary: bytes, upload: Upload) -> None:
    if not boundary:
        raise Refusal(400, "the form has no boundary; let the HTTP library set the header Content-Type")
    form = _Form(upload)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in body.chunks():
            parser.write(chunk)
        parser.finalize()
    except FormParserError:
        raise Refusal(400, "the form is damaged; send it again") from None
    if not form.ended:
        raise Refusal(400, "the form ends before its last boundary; send it again")
    if form.files != 1:
        raise Refusal(400, f"the form has {form.files} files; send one recording per request")


class _Form:
    """Takes the file out of a form."""

    def __init__(self, upload: Upload) -> None:
        self.upload, self.files, self.ended = upload, 0, False
        self.field = self.value = b""
        self.taking = False

    def callbacks(self) -> MultipartCallbacks:
        names = ("part_begin", "header_field", "header_value", "header_end", "part_data", "end")
        return cast("MultipartCallbacks", {f"on_{name}": getattr(self, f"on_{name}") for name in names})

    def on_part_begin(self) -> None:
        self.taking = False

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        if self.field.lower() == b"content-disposition":
            options = parse_options_header(self.value)[1]
            if (name := file_name(self.value, options)) is not None:
                self.files += 1
                self.taking = self.files == 1
                self.upload.name = name
            else:
                field = shown(options.get(b"name", b"").decode("utf-8", "replace"))
                raise Refusal(
                    400, f"the form has the field {field}; parameters belong into the query, as in ?{field}=..."
                )
        self.field = self.value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.taking:
            self.upload.write(data[start:end])

    def on_end(self) -> None:
        self.ended = True


def file_name(disposition: bytes, options: Mapping[bytes, bytes]) -> str | None:
    """The name of a file in a form, from its header and the options in it; None if the field is no file.

    Sources: RFC 5987 for ``filename*=utf-8''caf%C3%A9.wav``, which some clients send; the HTML Standard, "multipart
    form data", for ``%0A``, ``%0D`` and ``%22`` in ``filename``.
    """
    if b"filename" in options:
        name = options[b"filename"].decode("utf-8", "replace")
        return re.sub("%(0A|0D|22)", lambda found: unquote(found[0]), name)
    return message_from_bytes(b"Content-Disposition: " + disposition).get_filename()


def shown(name: str) -> str:
    """The name of a recording for results: without folders and control characters, and not too long."""
    last = re.split(r"[/\\]", CONTROL.sub("", name))[-1].strip()
    return "-" if last in ("", ".", "..") else last[-LONGEST_NAME:]
