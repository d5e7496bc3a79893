"""A drawing replica that is lost with a picture: what its handle raises, and who begins again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, OwnerDiedError, RayError
from ray.serve.exceptions import DeploymentUnavailableError
from tests.helpers.serving import DIGITS, FakeDrawers

from darkroom.errors import DarkroomError, ReplicaLostError
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.app import HandleDrawers
from darkroom.jobs.serve.drawers import Begun, Drawn, draw_all
from darkroom.jobs.serve.images_api import as_api_error
from darkroom.jobs.serve.request import Drawing, DrawRequest, Preview

REQUEST = DrawRequest(
    model="digits", seed=1, num_steps=4, guidance=1.0, sampler="ddim", width=28, height=28,
    label="7", num_previews=3,
)  # fmt: skip


class Losing:
    """A handle whose replica begins a picture and is lost."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.draw = self
        self.num_calls = self.num_cancelled = 0

    def options(self, **_: Any) -> Losing:
        return self

    def remote(self, _: DrawRequest) -> Losing:
        self.num_calls += 1
        return self

    async def __aiter__(self) -> AsyncGenerator[Drawn]:
        yield Begun(DIGITS.digest)
        raise self._error

    def cancel(self) -> None:
        self.num_cancelled += 1


async def all_of(drawers: HandleDrawers) -> list[Drawn]:
    async with aclosing(drawers.draw(REQUEST)) as items:
        return [item async for item in items]


@pytest.mark.parametrize(
    "error",
    [
        ActorDiedError(),
        ActorUnavailableError("gone", None),
        OwnerDiedError("f" * 56, None, "draw"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_replica_is_told_in_our_own_words_and_once(error: RayError) -> None:
    handle: Any = Losing(error)
    with pytest.raises(ReplicaLostError) as caught:
        asyncio.run(all_of(HandleDrawers(handle)))
    assert type(error).__name__ in str(caught.value)
    assert handle.num_calls == handle.num_cancelled == 1
    told = as_api_error(caught.value)
    assert (told.status, told.code, told.should_retry) == (500, "internal_error", None)


def test_a_deployment_that_is_not_there_may_come() -> None:
    deployment: Any = "drawing"
    handle: Any = Losing(DeploymentUnavailableError(deployment))
    with pytest.raises(ApiError) as caught:
        asyncio.run(all_of(HandleDrawers(handle)))
    assert (caught.value.status, caught.value.code) == (503, "not_ready")
    assert handle.num_cancelled == 1


@dataclass
class Mortal(FakeDrawers):
    """The first `num_lost` replicas are lost after two previews."""

    num_lost: int = 0

    async def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        async with aclosing(super().draw(request)) as items:
            async for item in items:
                is_third = isinstance(item, Preview) and item.index == 2
                if is_third and len(self.asked) <= self.num_lost:
                    raise ReplicaLostError("what drew is lost")
                yield item


def told_by(drawers: FakeDrawers) -> list[Drawn]:
    """What a request is told."""
    told: list[Drawn] = []

    async def take(_: int, item: Drawn) -> None:
        told.append(item)

    asyncio.run(draw_all(drawers, [REQUEST], take))
    return told


def test_a_request_begins_again_once_and_nothing_is_told_twice() -> None:
    drawers = Mortal(num_lost=1)
    told = told_by(drawers)
    assert len(drawers.asked) == 2
    assert [each.index for each in told if isinstance(each, Preview)] == [0, 1, 2]
    assert isinstance(told[-1], Drawing)
    with pytest.raises(ReplicaLostError):
        told_by(Mortal(num_lost=2))


def test_no_other_failure_is_tried_again() -> None:
    drawers = FakeDrawers(fault=DarkroomError("no numbers"))
    with pytest.raises(DarkroomError, match="no numbers"):
        told_by(drawers)
    assert len(drawers.asked) == 1
