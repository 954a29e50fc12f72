"""Live audio through a WebSocket: samples in, the records of ``sedkit listen --format jsonl`` out, one per message.

A binary message is raw samples. A text message, whatever it says, ends the audio; the last records follow, then the
server closes the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import anyio
import numpy as np
from anyio.to_thread import run_sync
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from sedkit.audio.pipe import ENCODINGS
from sedkit.errors import SedkitError
from sedkit.serve.analyses import LiveQuestion
from sedkit.tagger import Tagger

AHEAD = 64  # messages that wait for the model; then the client has to wait
SILENT = 60.0  # seconds without a message
NORMAL, INVALID = 1000, 1007  # close codes of RFC 6455


class Listener:
    """One live stream.

    Parameters
    ----------
    socket : accepted.
    tagger : analyses the audio.
    question : what the client asks.
    name : of the source, for the first record.
    """

    def __init__(self, socket: WebSocket, tagger: Tagger, question: LiveQuestion, name: str) -> None:
        self.socket, self.tagger, self.question, self.name = socket, tagger, question, name
        self._loop = asyncio.get_running_loop()
        self._blocks = SimpleQueue[NDArray[Any] | None]()
        self._room = asyncio.Semaphore(AHEAD)
        self._records = asyncio.Queue[str | None]()

    async def run(self, threads: anyio.CapacityLimiter) -> None:
        """Analyse the audio until it ends, the client leaves, or an error; then close the connection."""
        analysis = asyncio.ensure_future(run_sync(self._analyse, limiter=threads))
        receiving, sending = asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._send())
        try:
            await asyncio.wait((receiving, sending), return_when=asyncio.FIRST_COMPLETED)
            failed = not receiving.done()  # the analysis ended by itself
            if not failed:
                receiving.result()
                self._blocks.put(None)
            sending.result() if failed else await sending
            await self.socket.close(INVALID if failed else NORMAL)
        except WebSocketDisconnect:
            pass
        finally:
            self._blocks.put(None)
            receiving.cancel()
            sending.cancel()
            await analysis

    async def _receive(self) -> None:
        dtype = np.dtype(ENCODINGS[self.question.encoding])
        frame, rest = dtype.itemsize * self.question.channels, b""
        while True:
            try:
                async with asyncio.timeout(SILENT):
                    message = await self.socket.receive()
            except TimeoutError:
                return
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            data = message.get("bytes")
            if data is None:
                return
            rest += data
            whole = len(rest) // frame * frame
            if whole:
                await self._room.acquire()
                self._blocks.put(np.frombuffer(rest[:whole], dtype).reshape(-1, self.question.channels))
                rest = rest[whole:]

    async def _send(self) -> None:
        while (record := await self._records.get()) is not None:
            await self.socket.send_text(record)

    def _analyse(self) -> None:
        """In a thread of its own: blocks in, records out."""
        try:
            self._put(
                "start",
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                source=self.name,
                sample_rate=self.question.rate,
                model=self.tagger.contract.name,
                resolution=self.question.resolution,
            )
            options = {**self.question.options, "onsets": True, "name": self.name}
            for item in self.tagger.stream(self._received(), self.question.rate, **options):
                self._put(type(item).__name__.lower(), **item.to_dict())  # second, onset, event
        except SedkitError as error:
            self._put("error", message=str(error))
        finally:
            self._loop.call_soon_threadsafe(self._records.put_nowait, None)

    def _received(self) -> Iterator[NDArray[Any]]:
        while (block := self._blocks.get()) is not None:
            self._loop.call_soon_threadsafe(self._room.release)
            yield block

    def _put(self, kind: str, **fields: Any) -> None:
        record = json.dumps({"type": kind, **fields}, ensure_ascii=False, allow_nan=False)
        self._loop.call_soon_threadsafe(self._records.put_nowait, record)
