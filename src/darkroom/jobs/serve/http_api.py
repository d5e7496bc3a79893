"""The service as an ASGI app: routes, who asks, errors in OpenAI's shape.

    POST /v1/images/generations    draw                            (images_api.py)
    ...  /v1/jobs                  draw in the background          (jobs/api.py)
    GET  /v1/models, /v1/models/M  what is served
    GET  /healthz, /readyz         the process answers; models are loaded and warm
    GET  /                         the page                        (page/)

Assumes drawers; knows nothing of Ray, so that all of it is tested in one process.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.jobs.drawing.signing import signing_of
from darkroom.jobs.serve.admission import Admission
from darkroom.jobs.serve.api_error import ApiError, not_ready, unknown
from darkroom.jobs.serve.client_gone import ClientGoneError, EventStream
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.drawers import Drawers
from darkroom.jobs.serve.drawings import drawings_of, within
from darkroom.jobs.serve.edge import Edge, read_body
from darkroom.jobs.serve.images_api import ImagesRun
from darkroom.jobs.serve.images_request import parse_json, parse_request
from darkroom.jobs.serve.jobs.api import JobsApi
from darkroom.jobs.serve.keys import KeyRing
from darkroom.jobs.serve.request import ServedModel

ANYONE = "anyone"
"""Who asks where no keys are set."""
_NOT_TOLD = frozenset({"name", "origin", "lora_origins"})
_MODELS_SECONDS = 10.0
_KNOWN_SECONDS = 5.0
"""Weights that are exchanged meanwhile are told by what draws: a picture names its own."""
_PAGE_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
}

Handler = Callable[[Request], Awaitable[Any]]


class HttpApi:
    """The routes, and what they share."""

    def __init__(self, config: ServeConfig, drawers: Drawers) -> None:
        """Errors: InputError for keys, a place for jobs, or signing, that cannot be used."""
        self._config, self._drawers = config, drawers
        self._keys = None if config.keys is None else KeyRing(config.keys)
        self._sign = signing_of(config.signing)
        self._admission = Admission(config.limits)
        self._known: tuple[ServedModel, ...] = ()
        self._answered_at = -math.inf
        """When replicas last said so."""
        self._asked_at = -math.inf
        """When they last did, or could not, while it was known."""
        self._asking = asyncio.Lock()
        self.draining = False
        """Whether new drawings are refused, because the service stops."""
        self.jobs = JobsApi(
            config, drawers, self._admission, sign=self._sign,
            owner=self._owner, models=self._models, stopping=lambda: self.draining,
        )  # fmt: skip

    @property
    def under_way(self) -> int:
        """Drawing requests that have not ended."""
        return self._admission.under_way

    def app(self) -> FastAPI:
        """The ASGI app."""
        # Without FastAPI's own pages, which load scripts of third parties.
        app = FastAPI(
            title="Darkroom", docs_url=None, redoc_url=None, openapi_url=None, lifespan=self._alive,
            redirect_slashes=False,  # to wherever the request says that this service is
        )  # fmt: skip
        routes: list[tuple[str, str, Handler]] = [
            ("POST", "/v1/images/generations", self._generate),
            *self.jobs.routes,
            ("GET", "/v1/models", self._list_models),
            ("GET", "/v1/models/{name:path}", self._one_model),
            ("GET", "/healthz", self._health),
            ("GET", "/readyz", self._ready),
            *(("GET", path, _page) for path in _PAGE_FILES),
        ]
        for method, path, handler in routes:
            app.add_route(path, handler, methods=[method])
        app.add_middleware(Edge, config=self._config)
        app.add_exception_handler(ApiError, _api_error)
        app.add_exception_handler(HTTPException, _http_error)
        app.add_exception_handler(ClientGoneError, _nobody)
        app.add_exception_handler(Exception, _own_fault)
        return app

    @asynccontextmanager
    async def _alive(self, _: FastAPI) -> AsyncIterator[None]:
        """As long as the server that runs the app says."""
        async with self.jobs.running():
            yield

    async def _generate(self, request: Request) -> Response | EventStream:
        owner = self._owner(request)
        if self.draining:
            raise ApiError(503, "the service is stopping", code="stopping", retry_after=5)
        limits = self._config.limits
        values = parse_json(await read_body(request, limits.max_body_bytes))
        asked = parse_request(values, limits)
        began = time.monotonic()
        drawings = drawings_of(asked, await self._models(seconds=limits.deadline_seconds), limits)
        run = ImagesRun(self._drawers, asked, drawings, sign=self._sign)
        left = limits.deadline_seconds - (time.monotonic() - began)
        return await run.respond(request.receive, self._admission, owner, left)

    async def _list_models(self, request: Request) -> Response:
        self._owner(request)
        data = [self._told(model) for model in await self._models()]
        return JSONResponse({"object": "list", "data": data})

    async def _one_model(self, request: Request) -> Response:
        self._owner(request)
        name = request.path_params["name"]
        models = {model.name: model for model in await self._models()}
        if name not in models:
            raise ApiError(
                404, unknown("model", name, list(models)), code="model_not_found", param="model"
            )
        return JSONResponse(self._told(models[name]))

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        if self.draining:
            raise ApiError(503, "the service is stopping", code="stopping")
        await self._models(ready=True)
        return JSONResponse({"status": "ready"})

    async def _models(
        self, *, ready: bool = False, seconds: float = _MODELS_SECONDS
    ) -> tuple[ServedModel, ...]:
        """What was served a moment ago: a request needs not ask, and in a flood none could.

        ready: only if replicas answer now. seconds: how long to wait where nothing is known, as
        when what draws has gone to zero. Errors: ApiError 503 where nothing is known.
        """
        if self._are_fresh(ready=ready):
            return self._known
        try:
            async with (
                asyncio.timeout(_MODELS_SECONDS if self._known else seconds),
                self._asking,  # one asks for all
            ):
                if not self._are_fresh(ready=ready):
                    self._known = await self._drawers.models()
                    self._answered_at = self._asked_at = time.monotonic()
        except Exception as error:  # whatever keeps replicas from answering
            if ready or not self._known:
                raise not_ready() from error
            self._asked_at = time.monotonic()  # no other request waits for them, either
        return self._known

    def _are_fresh(self, *, ready: bool) -> bool:
        since = self._answered_at if ready else self._asked_at
        return time.monotonic() - since < _KNOWN_SECONDS

    def _told(self, model: ServedModel) -> dict[str, Any]:
        """As OpenAI's client reads it, and what the page offers, within this service's limits."""
        told = asdict(within(model, self._config.limits))
        return {
            "id": model.name,
            "object": "model",
            "created": 0,
            "owned_by": "darkroom",
            **{name: value for name, value in told.items() if name not in _NOT_TOLD},
        }

    def _owner(self, request: Request) -> str:
        """Who asks. Errors: ApiError 401."""
        if self._keys is None:
            return ANYONE
        return self._keys.owner_of(request.headers.get("authorization"))


async def _page(request: Request) -> Response:
    name, kind = _PAGE_FILES[request.url.path]
    text = files("darkroom.jobs.serve").joinpath("page", name).read_text()
    return Response(text, media_type=kind, headers=_PAGE_HEADERS)


async def _api_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    # A body that was not read to its end would be taken for the connection's next request.
    headers = {**error.headers, "connection": "close", "cache-control": "no-store"}
    return JSONResponse(error.body, error.status, headers=headers)


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = {
        404: ("no such address; see docs/verbs/serve.md", "not_found"),
        405: ("the address does not take this method", "method_not_allowed"),
    }
    problem, code = known.get(status, ("the request cannot be served", "invalid_request"))
    told = ApiError(status, problem, code=code)
    given = getattr(error, "headers", None) or {}
    return JSONResponse(told.body, status, headers={**given, **told.headers})


async def _nobody(_: Request, _error: Exception) -> Response:
    return Response(status_code=499)


async def _own_fault(_: Request, _error: Exception) -> Response:
    told = ApiError(500, "the service failed", code="internal_error")
    return JSONResponse(told.body, 500)
