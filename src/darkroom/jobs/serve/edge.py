"""What every request passes first: who may ask, from where, and how large a body may be.

A browser carries requests of any web site to 127.0.0.1. So where no key protects the service, only
a request whose Host is this machine's own name is answered (a site can make its name point here),
and wherever it runs, pages of other origins can neither draw nor read: their Origin, or what
the browser says of the site, is refused, and bodies must be application/json, which no form sends.
Ray's own headers are taken away: deadlines and disconnects are this service's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.client_gone import ClientGoneError
from darkroom.jobs.serve.config import ServeConfig
from darkroom.loopback import is_loopback

RAY_HEADERS = frozenset(
    {
        "x-request-timeout-seconds",
        "x-request-disconnect-disabled",
        "serve_multiplexed_model_id",
        "serve-multiplexed-model-id",
    }
)
BODY_SECONDS = 30.0
FORGOTTEN_BYTES = 4 * 2**20
"""Of a body beyond its limit, read so that its client can read the refusal."""
_CORS_HEADERS = "authorization, content-type, idempotency-key"
_SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


class Edge:
    """ASGI middleware around the whole service."""

    def __init__(self, app: ASGIApp, *, config: ServeConfig) -> None:
        self._app = app
        self._origins = frozenset(origin.lower().rstrip("/") for origin in config.origins)
        self._hosts = frozenset(host.lower() for host in config.hosts)
        self._any_host = config.keys is not None and not config.hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope = {**scope, "headers": [*_without_rays(scope["headers"])]}
        origin = headers.get("origin")
        allowed = origin is not None and origin.lower() in self._origins

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                marked = MutableHeaders(scope=message)
                for name, value in _SAFE.items():
                    marked.setdefault(name, value)
                marked.add_vary_header("Origin")
                if allowed and origin is not None:
                    marked["access-control-allow-origin"] = origin
                    marked["access-control-expose-headers"] = "retry-after, x-should-retry"
                else:
                    marked["cross-origin-resource-policy"] = "same-origin"
            await send(message)

        try:
            self._check(scope, headers, allowed=allowed)
        except ApiError as error:
            response: Response = JSONResponse(error.body, error.status, headers=error.headers)
            await response(scope, receive, send_marked)
            return
        if scope["method"] == "OPTIONS" and allowed:
            response = Response(
                status_code=204,
                headers={
                    "access-control-allow-methods": "GET, POST, DELETE",
                    "access-control-allow-headers": _CORS_HEADERS,
                    "access-control-max-age": "600",
                },
            )
            await response(scope, receive, send_marked)
            return
        await self._app(scope, receive, send_marked)

    def _check(self, scope: Scope, headers: Headers, *, allowed: bool) -> None:
        host = headers.get("host", "")
        known = is_loopback(_name(host)) or _name(host) in self._hosts
        if not (self._any_host or known):
            raise ApiError(
                403, f"the service is not known as {host[:100]!r}; add it to hosts",
                code="host_not_allowed",
            )  # fmt: skip
        origin = headers.get("origin")
        foreign = origin is not None and not allowed and not _is_at(origin, host)
        # A link on another site may lead to the page, not to what the page asks for.
        embedded = headers.get("sec-fetch-site") in ("cross-site", "same-site") and not (
            headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        )
        if foreign or (embedded and not allowed):
            raise ApiError(
                403, "pages of other origins may not call this service; add theirs to origins",
                code="origin_not_allowed",
            )  # fmt: skip


def _without_rays(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    return (each for each in headers if each[0].decode("latin-1").lower() not in RAY_HEADERS)


def _name(host: str) -> str:
    """The name in a Host header."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_at(origin: str, host: str) -> bool:
    """Whether a page of that origin came from this very address."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _check_type(headers: Headers) -> None:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            415, "the body's content type must be application/json", code="unsupported_media_type"
        )
    # Nothing is unpacked: a few bytes could become gigabytes.
    if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise ApiError(
            415, "the body must not be compressed; leave content-encoding out",
            code="unsupported_media_type",
        )  # fmt: skip


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, refused when it is no JSON by its type, too large or too slow.

    What is somewhat too large is read to its end and forgotten: who is answered while still sending
    gets a reset in place of the answer. What is, or says that it will be, far too large is not.
    Errors: ApiError 415, 413 and 408.
    """
    _check_type(request.headers)
    too_large = ApiError(413, f"the body is larger than {max_bytes} bytes", code="body_too_large")
    declared = request.headers.get("content-length", "")
    most = max_bytes + FORGOTTEN_BYTES
    if declared.isdecimal() and (len(declared) > 12 or int(declared) > most):
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise too_large
                if size <= max_bytes:
                    parts.append(part)
                else:
                    parts.clear()
    except TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {BODY_SECONDS:g} s", code="body_too_slow",
            should_retry=False,
        ) from None  # fmt: skip
    except ClientDisconnect:
        raise ClientGoneError from None
    if size > max_bytes:
        raise too_large
    return b"".join(parts)
