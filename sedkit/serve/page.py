"""What only the page of the server asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sedkit.contract import Label
from sedkit.errors import AnnotationError, SedkitError
from sedkit.formats import FORMATS, check_installed
from sedkit.formats.html.audio import PageAudio, copy
from sedkit.formats.html.data import timeline_data
from sedkit.formats.reading.annotations import event, number
from sedkit.formats.writers import Run
from sedkit.install import version
from sedkit.results import Event, Timeline
from sedkit.serve.answers import Answer, render
from sedkit.serve.refusals import Refusal
from sedkit.serve.service import Service, query_of, sent
from sedkit.serve.uploads import Body, receive_recording, shown

MOST_EVENTS = 20_000_000  # bytes of JSON


class Page:
    """Answers the page's own requests, with the help of the service."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def about(self, request: Request) -> Response:
        """``GET /page/about``: the model, and the formats of downloads, some of which need the recording itself."""
        formats = [
            {"name": name, "ending": writer.ending or writer.suffixes[0], "analysed": bool(writer.keeps)}
            for name, writer in FORMATS.items()
            if "events" in writer.kinds and _installed(name)
        ]
        contract = self.service.tagger.contract
        about = {"model": contract.name, "classes": len(contract.labels), "version": version(), "formats": formats}
        return JSONResponse(about)

    async def timeline(self, request: Request) -> Response:
        """``POST /page/timeline``: what the page shows of a recording (:mod:`sedkit.formats.html.data`)."""

        async def answered(body: Body) -> Response:
            question = replace(self.service.analyses.timeline.read(query_of(request)), format="html")
            if question.reading["channel"] == "each":
                raise Refusal(400, "channel: the page shows one channel, or their mix")
            upload, (timeline,) = await self.service.analysed(request, body, question)
            upload.close()
            run = Run("events", model=self.service.tagger.contract.name)
            assert isinstance(timeline, Timeline)
            data = await run_sync(timeline_data, timeline, run, PageAudio())
            content = json.dumps(data, separators=(",", ":"), allow_nan=False).encode()
            return sent(Answer(content, "application/json", None))

        return await self.service.guarded(request, answered)

    async def audio(self, request: Request) -> Response:
        """``POST /page/audio``: a copy of a recording that every browser plays."""

        async def answered(body: Body) -> Response:
            upload = await receive_recording(request, body)
            try:
                content = await run_sync(copy, upload.file, None, self.service.limits.max_duration)
            except (OSError, ValueError) as error:
                raise Refusal(422, f"{upload.name}: cannot be copied ({error})") from None
            finally:
                upload.close()
            return sent(Answer(content, "audio/webm", None))

        return await self.service.guarded(request, answered)

    async def events(self, request: Request) -> Response:
        """``POST /page/events``: events, perhaps edited, in a format."""

        async def answered(body: Body) -> Response:
            question = self.service.analyses.timeline.read(query_of(request))
            if FORMATS[question.format].keeps:
                raise Refusal(400, f"{question.format} needs the recording; send it to /v1/timeline")
            body.max_size = min(body.max_size, MOST_EVENTS)
            content = b"".join([chunk async for chunk in body.chunks()])
            timeline = timeline_of(content, shown(request.query_params.get("name", "-")))
            return sent(await run_sync(render, question, [timeline], self.service.tagger.contract.name, None))

        return await self.service.guarded(request, answered)


def timeline_of(content: bytes, name: str) -> Timeline:
    """The timeline of ``{"duration", "events": [{"onset", "offset", "label", "mid", "score"}]}``, without cells.

    Raises
    ------
    Refusal
        If it is something else.
    """
    try:
        record: Mapping[str, Any] = json.loads(content)
        events = tuple(
            event(name, one["onset"], one["offset"], one["label"], one.get("mid"), one.get("score"))
            for one in record["events"]
        )
        duration = number(name, "duration", record["duration"])
    except AnnotationError as error:
        raise Refusal(400, str(error)) from None
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise Refusal(400, f"{name}: these are no events ({type(error).__name__})") from None
    return Timeline(name, duration, 1.0, (), _sorted(events), None, _labels(events))


def _sorted(events: tuple[Event, ...]) -> tuple[Event, ...]:
    return tuple(sorted(events, key=lambda event: (event.onset, event.label)))


def _labels(events: tuple[Event, ...]) -> tuple[Label, ...]:
    return tuple(Label(name, mid) for name, mid in {event.label: event.mid for event in events}.items())


def _installed(name: str) -> bool:
    try:
        check_installed(name, FORMATS[name])
    except SedkitError:
        return False
    return True
