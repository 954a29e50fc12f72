"""The Starlette application: which address does what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from sedkit.install import version
from sedkit.serve import openapi
from sedkit.serve.guard import NOTHING_HERE, Guard
from sedkit.serve.page import Page
from sedkit.serve.service import Service
from sedkit.serve.site import site

MESSAGES = {404: NOTHING_HERE, 405: "this address takes another method"}


class Pages:
    """What does not depend on recordings: descriptions, the state of the server, the files of the page."""

    def __init__(self, service: Service, model: Mapping[str, Any], token: bool) -> None:
        self.service, self.model = service, {"models": [dict(model)]}
        asked = service.analyses
        self.document = openapi.document(
            version(), asked.tag.parameters, asked.timeline.parameters, asked.listen.parameters, token
        )
        self.manual = openapi.page(self.document)
        self.files = site()

    async def models(self, request: Request) -> Response:
        return JSONResponse(self.model)

    async def health(self, request: Request) -> Response:
        failed, stopping = self.service.engine.fault is not None, self.service.stopping
        status = "failed" if failed else "stopping" if stopping else "ok"
        return JSONResponse({"status": status}, 503 if failed or stopping else 200)

    async def counters(self, request: Request) -> Response:
        return Response(self.service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def description(self, request: Request) -> Response:
        return JSONResponse(self.document)

    async def docs(self, request: Request) -> Response:
        return Response(self.manual, media_type="text/html")

    async def file(self, request: Request) -> Response:
        content, kind = self.files[request.url.path]
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-cache"})


def create_app(
    service: Service, model: Mapping[str, Any], token: str | None = None, loopback: bool = True
) -> Starlette:
    """The application.

    Parameters
    ----------
    model : the facts about the model for ``GET /v1/models``.
    token : that clients must send; None for none.
    loopback : whether the server listens on a loopback address (:class:`sedkit.serve.guard.Guard`).
    """
    page, pages = Page(service), Pages(service, model, token is not None)
    routes: list[Route | WebSocketRoute] = [
        Route("/v1/tag", service.tag, methods=["POST"]),
        Route("/v1/timeline", service.timeline, methods=["POST"]),
        WebSocketRoute("/v1/listen", service.listen),
        Route("/v1/models", pages.models),
        Route("/page/about", page.about),
        Route("/page/timeline", page.timeline, methods=["POST"]),
        Route("/page/audio", page.audio, methods=["POST"]),
        Route("/page/events", page.events, methods=["POST"]),
        Route("/healthz", pages.health),
        Route("/metrics", pages.counters),
        Route("/openapi.json", pages.description),
        Route("/docs", pages.docs),
        *(Route(path, pages.file) for path in pages.files),
    ]
    paths = frozenset(route.path for route in routes)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(service.engine.close)

    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, metrics=service.metrics, paths=paths, token=token, loopback=loopback)],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = MESSAGES.get(error.status_code, error.detail)
    return JSONResponse({"error": text}, error.status_code, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    """For an error of sedkit itself; uvicorn writes its traceback to standard error."""
    return JSONResponse({"error": f"unexpected {type(error).__name__}; the log of the server has more"}, 500)
