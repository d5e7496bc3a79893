"""What a failure on a drawing replica is to a client, by the exceptions that Ray makes of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from ray.exceptions import RayTaskError
from tests.helpers.serving import DIGITS

from darkroom.errors import ConfigError, DarkroomError, ServingError
from darkroom.jobs.serve.app import HandleDrawers
from darkroom.jobs.serve.drawers import Begun, Drawn
from darkroom.jobs.serve.images_api import as_api_error
from darkroom.jobs.serve.request import DrawRequest

TRACEBACK = """Traceback (most recent call last):
  File "/srv/checks.py", line 3, in look
    raise RuntimeError("sk-of-the-operator")
RuntimeError: sk-of-the-operator"""


def as_ray_raises(cause: Exception) -> Exception:
    """What a handle raises here for what was raised there."""
    error = RayTaskError(
        "ServeReplica:darkroom:drawing.draw()", TRACEBACK, cause,
        proctitle="ray::ServeReplica", pid=4242, ip="10.0.0.7",
    )  # type: ignore[no-untyped-call]  # fmt: skip
    dual: Exception = error.as_instanceof_cause()  # type: ignore[no-untyped-call]
    return dual


class Failing:
    """A handle whose replica begins a picture and fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.draw = self
        self.cancelled = False

    def options(self, **_: Any) -> Failing:
        return self

    def remote(self, _: DrawRequest) -> Failing:
        return self

    async def __aiter__(self) -> AsyncGenerator[Drawn]:
        yield Begun(DIGITS.digest)
        raise self._error

    def cancel(self) -> None:
        self.cancelled = True


def raised(by_ray: Exception, kind: type[Exception]) -> Exception:
    """By the drawers, whose handle raises `by_ray`."""
    handle: Any = Failing(by_ray)
    request = DrawRequest(
        model="digits", seed=1, num_steps=2, guidance=1.0, sampler="ddim", width=28, height=28,
        label="7",
    )  # fmt: skip

    async def scenario() -> None:
        async with aclosing(HandleDrawers(handle).draw(request)) as items:
            async for _ in items:
                pass

    with pytest.raises(kind) as caught:
        asyncio.run(scenario())
    assert handle.cancelled
    return caught.value


@pytest.mark.parametrize(
    ("cause", "status", "code", "message"),
    [
        (ServingError("it is kept back"), 500, "drawing_failed", "it is kept back"),
        (DarkroomError("no numbers"), 500, "drawing_failed", "no numbers"),
        (ConfigError("label", "x", "is none"), 400, "invalid_value", "class: is none"),
        (RuntimeError("sk-of-the-operator"), 500, "internal_error", "the drawing failed"),
        (MemoryError(), 503, "out_of_memory", "memory ran out; smaller batches follow"),
    ],
)
def test_a_replicas_failure_is_told_without_rays_traceback(
    cause: Exception, status: int, code: str, message: str
) -> None:
    dual = as_ray_raises(cause)
    assert isinstance(dual, type(cause))
    assert "/srv/checks.py" in str(dual), "as Ray words it"
    told = as_api_error(raised(dual, type(cause)))
    assert (told.status, told.code, str(told)) == (status, code, message)
