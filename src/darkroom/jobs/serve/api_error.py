"""What a client is told when its request is refused or fails, in the shape of OpenAI's errors.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

The official client tries 408, 409, 429 and 5xx again, twice, unless `x-should-retry: false`; it
waits as `Retry-After` says, if that is at most 60 s.
"""

from __future__ import annotations

from typing import Any

from darkroom.config import closest
from darkroom.messages import message

MAX_RETRY_AFTER = 60
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A request cannot be served; becomes a response, or the last event of a stream."""

    def __init__(
        self,
        status: int,
        problem: str,
        *,
        code: str,
        param: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        """retry_after: seconds, bounded to what clients obey. should_retry: overrides what the
        status says, where a retry would draw the same again, and in vain."""
        super().__init__(message(problem))
        self.status, self.code, self.param = status, code, param
        self.retry_after = retry_after
        self.should_retry = should_retry

    @property
    def body(self) -> dict[str, Any]:
        """The response's JSON, also the data of an event."""
        kind = _TYPES.get(self.status)
        if kind is None:
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        """What clients read beside the body."""
        headers = {}
        if self.retry_after is not None:
            seconds = min(MAX_RETRY_AFTER, max(1, round(self.retry_after)))
            headers["retry-after"] = str(seconds)
        if self.should_retry is not None:
            headers["x-should-retry"] = str(self.should_retry).lower()
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return headers


def invalid(param: str | None, problem: str, *, code: str = "invalid_value") -> ApiError:
    """400 that names the parameter."""
    return ApiError(400, f"{param}: {problem}" if param else problem, code=code, param=param)


def not_ready() -> ApiError:
    """503 while nothing can draw."""
    return ApiError(503, "no model is loaded yet", code="not_ready", retry_after=5)


def unknown(what: str, name: str, known: list[str]) -> str:
    """`unknown sampler 'dim'; did you mean 'ddim'?`"""
    name = name[:100]
    guess = closest(name, known)
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    remedy = f"did you mean {guess!r}?" if guess else f"known: {shown or 'none'}"
    return f"unknown {what} {name!r}; {remedy}"
