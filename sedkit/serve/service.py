"""What clients ask for: analyses of recordings, and live audio."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocket

from sedkit.audio.prefetch import ChannelName
from sedkit.audio.reading import channel_count
from sedkit.errors import SedkitError
from sedkit.formats import FORMATS
from sedkit.results import Tagging, Timeline
from sedkit.serve.analyses import Analysis, LiveAnalysis, Question
from sedkit.serve.answers import Answer, render
from sedkit.serve.engine import Engine, Job
from sedkit.serve.guard import PROTOCOL
from sedkit.serve.limits import Limits
from sedkit.serve.listening import Listener
from sedkit.serve.metrics import Metrics
from sedkit.serve.refusals import Refusal, busy, refusal_of
from sedkit.serve.uploads import Body, Upload, body_of, receive_recording, shown
from sedkit.tagger import Tagger

CHUNK = 1 << 16  # bytes of an answer that are sent at once
AGAIN, INVALID = 1013, 1008  # close codes of WebSockets
TOO_SLOW = 408
STOPPING = "the server is shutting down; try again later"


@dataclass(frozen=True, kw_only=True)
class Analyses:
    """What clients can ask for."""

    tag: Analysis
    timeline: Analysis
    listen: LiveAnalysis


class Service:
    """Analyses recordings and live audio for clients.

    Attributes
    ----------
    stopping : whether the server is shutting down, so that new requests are refused. Those under way go on; uvicorn
        ends live streams with the close code 1012.
    """

    def __init__(self, tagger: Tagger, analyses: Analyses, limits: Limits) -> None:
        self.tagger, self.analyses, self.limits = tagger, analyses, limits
        self.engine = Engine(tagger.model, limits)
        self.metrics = Metrics(self.engine)
        self.stopping = False
        self._listeners = 0
        self._threads = anyio.CapacityLimiter(limits.listeners)

    async def tag(self, request: Request) -> Response:
        """``POST /v1/tag``"""
        return await self.answer(request, self.analyses.tag)

    async def timeline(self, request: Request) -> Response:
        """``POST /v1/timeline``"""
        return await self.answer(request, self.analyses.timeline)

    async def answer(self, request: Request, analysis: Analysis) -> Response:
        """Analyse the recording of a request, and answer in the format that it asks for."""

        async def answered(body: Body) -> Response:
            question = analysis.read(query_of(request))
            upload, results = await self.analysed(request, body, question)
            try:
                return sent(await run_sync(render, question, results, self.tagger.contract.name, upload))
            finally:
                upload.close()

        return await self.guarded(request, answered)

    async def guarded(self, request: Request, answered: Callable[[Body], Awaitable[Response]]) -> Response:
        """Answer a request with a recording, if there is room for it; say on one line what is wrong with it."""
        body: Body | None = None
        try:
            body = body_of(request, self.limits.max_size)
            if self.stopping:
                raise busy(503, STOPPING)
            with self.engine.slot():
                return await answered(body)
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            return JSONResponse({"error": STOPPING}, 503)  # it was still being sent at a forced end
        except SedkitError as error:
            refusal = refusal_of(error)
            if refusal.status != TOO_SLOW:
                await (body or Body(request.receive, 0, None)).drain()
            return JSONResponse({"error": " ".join(str(refusal).split())}, refusal.status, refusal.headers)

    async def analysed(
        self, request: Request, body: Body, question: Question
    ) -> tuple[Upload, list[Tagging | Timeline]]:
        """Receive the recording of a request and analyse it, or each of its channels.

        Raises
        ------
        Refusal
            If that does not work; the recording is closed then.
        """
        upload = await receive_recording(request, body)
        jobs, results = list[Job](), list[Tagging | Timeline]()
        try:
            make_view = question.make_views(FORMATS[question.format].keeps)
            start = await run_sync(question.recorded_at, upload.file, upload.name)
            for name, channel in (await _channels(upload, question)).items():
                upload.file.seek(0)
                reading = {**question.reading, "channel": channel}
                job = Job(upload.file, name, make_view(), self.limits.max_duration, **reading)
                jobs.append(job)
                result = await self.engine.run(job, upload.size, body.gone())
                results.append(replace(result, sample_rate=job.sample_rate, recorded_at=start, truncated=job.truncated))
        except BaseException as error:
            if jobs:
                jobs[-1].released.add_done_callback(lambda _: upload.close())
            else:
                upload.close()
            if isinstance(error, SedkitError):
                raise _named(error, upload.name) from error
            raise
        return upload, results

    async def listen(self, socket: WebSocket) -> None:
        """WebSocket ``/v1/listen``"""
        await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
        if self.stopping or self._listeners >= self.limits.listeners:
            await socket.close(AGAIN, "too many live streams; try again later")
            return
        try:
            question = self.analyses.listen.read(query_of(socket))
        except SedkitError as error:
            await socket.send_text(json.dumps({"type": "error", "message": str(error)}, ensure_ascii=False))
            await socket.close(INVALID)
            return
        self._listeners += 1
        try:
            with self.metrics.listeners.track_inprogress():
                name = shown(socket.query_params.get("name", "-"))
                await Listener(socket, self.tagger, question, name).run(self._threads)
        finally:
            self._listeners -= 1


def query_of(asked: Request | WebSocket) -> list[tuple[str, str]]:
    """The query, without the name of the recording."""
    return [pair for pair in asked.query_params.multi_items() if pair[0] != "name"]


def sent(answer: Answer) -> Response:
    """A response in parts, so that each can have a time limit."""

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(answer.content), CHUNK):
            yield answer.content[start : start + CHUNK]

    return StreamingResponse(parts(), headers=answer.headers)


async def _channels(upload: Upload, question: Question) -> dict[str, str | int]:
    """The channel of each result, by its name."""
    channel = question.reading["channel"]
    if channel != "each":
        return {upload.name: channel}
    upload.file.seek(0)
    count = await run_sync(channel_count, upload.file, question.reading["track"])
    return {ChannelName(upload.name, number): number for number in range(1, count + 1)}


def _named(error: SedkitError, name: str) -> Refusal:
    """A refusal with the name of the recording, which was read from a file without one."""
    refusal, text = refusal_of(error), str(error)
    named = f"{name}:{text.removeprefix('-:')}" if text.startswith("-:") else text
    return Refusal(refusal.status, named, refusal.headers)
