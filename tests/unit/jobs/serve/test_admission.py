"""What is let in, what is not, and when a client may come back."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest
from tests.helpers.clock import Clock
from tests.helpers.serving import FakeDrawers, client_of, eventually, http_api

from darkroom.jobs.serve.admission import Admission
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.config import RequestLimits


def admission(**limits: Any) -> tuple[Admission, Clock]:
    clock = Clock()
    return Admission(RequestLimits(**limits), clock), clock


def refusal(door: Admission, owner: str = "ann", work: float = 1.0) -> ApiError:
    with pytest.raises(ApiError) as caught, door.admitted(owner, work):
        pass
    assert caught.value.status == 429
    assert 1 <= int(caught.value.headers["retry-after"]) <= 60
    return caught.value


def test_work_is_bounded_and_an_idle_service_takes_any() -> None:
    door, _ = admission(max_waiting_work=10.0)
    with door.admitted("ann", 50.0):
        assert refusal(door).code == "busy"
    with door.admitted("ann", 6.0), door.admitted("bob", 4.0):
        refusal(door, work=0.1)
    assert door.under_way == 0
    with door.admitted("ann", 10.0):
        pass


def test_the_number_of_requests_is_bounded() -> None:
    door, _ = admission(max_requests=2)
    with door.admitted("ann", 0.0), door.admitted("ann", 0.0):
        refusal(door)


def test_a_failed_request_gives_its_room_back() -> None:
    door, _ = admission(max_requests=1)
    with pytest.raises(RuntimeError), door.admitted("ann", 1.0):
        raise RuntimeError
    with door.admitted("ann", 1.0):
        pass


def test_clients_come_back_when_half_of_what_waits_is_drawn() -> None:
    door, clock = admission(max_waiting_work=100.0)
    with door.admitted("ann", 10.0):
        clock.now += 2.0  # five megapixel-steps a second
    with door.admitted("ann", 100.0):
        assert refusal(door).headers["retry-after"] == "10"
    with door.admitted("ann", 100_000.0):
        assert refusal(door).headers["retry-after"] == "60"


def test_each_key_has_its_own_rate() -> None:
    door, clock = admission(requests_per_minute=2.0)
    for _ in range(2):
        with door.admitted("ann", 1.0):
            pass
    error = refusal(door)
    assert (error.code, error.headers["retry-after"]) == ("rate_limit_exceeded", "30")
    with door.admitted("bob", 1.0):
        pass
    clock.now += 30
    with door.admitted("ann", 1.0):
        pass
    refusal(door)


def test_what_is_refused_for_want_of_room_costs_no_rate() -> None:
    door, _ = admission(max_requests=1, requests_per_minute=2.0)
    with door.admitted("ann", 1.0):
        for _ in range(5):
            assert refusal(door).code == "busy"
    with door.admitted("ann", 1.0):
        pass
    assert refusal(door).code == "rate_limit_exceeded"


def test_each_key_has_its_own_number_under_way() -> None:
    door, _ = admission(requests_per_key=1)
    with ExitStack() as stack:
        stack.enter_context(door.admitted("ann", 1.0))
        assert refusal(door).code == "concurrency_limit_exceeded"
        stack.enter_context(door.admitted("bob", 1.0))
    with door.admitted("ann", 1.0):
        pass


@pytest.mark.parametrize("stream", [False, True])
def test_a_flood_is_answered_and_what_was_let_in_is_drawn(stream: bool) -> None:
    async def scenario() -> None:
        drawers = FakeDrawers(step_seconds=0.05)
        api = http_api(drawers, limits={"max_requests": 8})
        async with client_of(api) as client:
            body = {"prompt": "7", "steps": 4, "stream": stream}
            sending = [
                asyncio.create_task(client.post("/v1/images/generations", json=body))
                for _ in range(200)
            ]
            answers = await asyncio.gather(*sending)
            statuses = [answer.status_code for answer in answers]
            assert statuses.count(200) == 8
            assert statuses.count(429) == 192
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            await eventually(lambda: not api.under_way)
            assert (await client.post("/v1/images/generations", json=body)).status_code == 200

    asyncio.run(scenario())
