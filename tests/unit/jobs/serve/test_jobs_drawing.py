"""One picture of a job: what is waited for, and what counts as a try."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

import pytest
from tests.helpers.serving import FakeDrawers, eventually, serve_config
from tests.helpers.serving_jobs import SEVEN

from darkroom.errors import ReplicaLostError
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.drawers import Begun, Drawn
from darkroom.jobs.serve.jobs import drawing
from darkroom.jobs.serve.jobs.drawing import MAX_LOST, TRIES, DrawnForJob, draw
from darkroom.jobs.serve.jobs.intake import new_job
from darkroom.jobs.serve.request import Drawing, DrawRequest

pytestmark = pytest.mark.usefixtures("quick_jobs")


@dataclass
class Unsteady(FakeDrawers):
    """Loses the first `num_lost` replicas with the picture, before it has begun or at its end."""

    num_lost: int = 0
    lost_when: type[Drawn] = Begun
    is_there: bool = True
    """Whether there is a replica: without one, Serve's router waits."""
    hangs: bool = False

    async def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        await eventually(lambda: self.is_there)
        async with aclosing(super().draw(request)) as items:
            async for item in items:
                if len(self.asked) <= self.num_lost and isinstance(item, self.lost_when):
                    raise ReplicaLostError("what drew is lost")
                yield item
                if self.hangs:
                    await asyncio.Event().wait()


async def drawn_by(drawers: Unsteady, *, deadline_seconds: float = 60.0) -> DrawnForJob | ApiError:
    asked = new_job(SEVEN, await drawers.models(), serve_config(), owner="ann", idempotency=None)
    return await draw(drawers, asked, 0, deadline_seconds=deadline_seconds)


def test_a_picture_waits_for_a_replica_for_as_long_as_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drawing, "TRIES", 1)
    deadline_seconds = 1.0

    async def scenario() -> None:
        drawers = Unsteady(is_there=False)
        task = asyncio.create_task(drawn_by(drawers, deadline_seconds=deadline_seconds))
        asyncio.get_running_loop().call_later(
            1.1 * deadline_seconds, setattr, drawers, "is_there", True
        )
        assert isinstance(await task, DrawnForJob)
        assert len(drawers.asked) == 1

    asyncio.run(scenario())


def test_a_picture_that_hangs_whatever_draws_it_is_given_up_at_the_deadline() -> None:
    async def scenario() -> None:
        drawers = Unsteady(hangs=True)
        told = await drawn_by(drawers, deadline_seconds=0.05)
        assert isinstance(told, ApiError)
        assert told.code == "deadline_exceeded"
        assert len(drawers.asked) == TRIES
        assert drawers.stopped == TRIES, "each try is stopped"

    asyncio.run(scenario())


@pytest.mark.parametrize("lost_when", [Begun, Drawing])
def test_lost_replicas_are_no_tries_but_not_for_ever(lost_when: type[Drawn]) -> None:
    async def scenario() -> None:
        drawers = Unsteady(num_lost=MAX_LOST - 1, lost_when=lost_when)
        assert MAX_LOST > TRIES
        assert isinstance(await drawn_by(drawers), DrawnForJob)
        assert len(drawers.asked) == MAX_LOST
        deadly = Unsteady(num_lost=10**6, lost_when=lost_when)
        told = await drawn_by(deadly)
        assert isinstance(told, ApiError)
        assert (told.status, told.code) == (500, "given_up")
        assert len(deadly.asked) == MAX_LOST

    asyncio.run(scenario())


def test_a_deployment_that_cannot_be_made_is_waited_for() -> None:
    @dataclass
    class Undeployed(Unsteady):
        calls: int = 0

        async def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
            self.calls += 1
            if self.calls < 2 * TRIES:  # as HandleDrawers tells of it
                raise ApiError(503, "no model is loaded yet", code="not_ready")
            async with aclosing(super().draw(request)) as items:
                async for item in items:
                    yield item

    async def scenario() -> None:
        assert isinstance(await drawn_by(Undeployed()), DrawnForJob)

    asyncio.run(scenario())
