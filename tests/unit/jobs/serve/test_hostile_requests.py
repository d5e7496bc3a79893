"""Floods and tricks by kind, over real sockets: each is refused in its shape, at once, and draws
nothing; whoever asks honestly meanwhile is drawn. The proof sends the same by 200 clients."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

import pytest
from tests.helpers.hostile_requests import (
    DRAW,
    GOOD,
    HOSTILE,
    JSON,
    NO_HTTP,
    Answer,
    Hostile,
    answer_to,
    fault_of,
)
from tests.helpers.serving import FakeDrawers, http_api, listening

KEY = "none"
SECONDS = 10
"""Of CPU for one request: the slowest kind took minutes where it was not refused at once."""


def data(asked: Hostile, address: str) -> bytes:
    return asked.data(urlsplit(address).netloc, KEY)


async def draw(address: str) -> Answer:
    return await answer_to(address, data(Hostile(body=GOOD), address))


@pytest.mark.parametrize("kind", HOSTILE)
def test_it_is_refused_in_its_shape_and_the_next_one_is_drawn(kind: str) -> None:
    drawers = FakeDrawers()
    asked = HOSTILE[kind]

    async def scenario() -> None:
        async with listening(http_api(drawers)) as address:
            began = time.process_time()
            answer = await answer_to(address, data(asked, address))
            assert not fault_of(asked, answer)
            assert time.process_time() - began < SECONDS
            assert not drawers.asked
            assert (await draw(address)).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", NO_HTTP)
def test_what_is_no_http_gets_a_400_or_nothing(kind: str) -> None:
    async def scenario() -> None:
        async with listening(http_api(FakeDrawers())) as address:
            with suppress(asyncio.IncompleteReadError, ConnectionError):  # closed
                assert (await answer_to(address, NO_HTTP[kind])).status == 400
            assert (await draw(address)).status == 200

    asyncio.run(scenario())


def test_three_hundred_half_open_sockets_keep_nobody_out() -> None:
    """Silent ones, half a line, headers and bodies without end."""
    lines = f"{DRAW} HTTP/1.1\r\nhost: 127.0.0.1\r\n{JSON}\r\n".encode()
    begun = [
        b"",
        b"POST /v1/ima",
        lines + b"x: ",
        lines + b"content-length: 99\r\n\r\n{",
        lines + b"transfer-encoding: chunked\r\n\r\n1\r\n{",
    ]
    drawers = FakeDrawers()

    async def scenario() -> None:
        async with listening(http_api(drawers)) as address, AsyncExitStack() as stack:
            parts = urlsplit(address)
            for at in range(300):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
                stack.callback(writer.close)
                writer.write(begun[at % len(begun)])
                await writer.drain()
            answers = await asyncio.gather(*(draw(address) for _ in range(20)))
            assert {answer.status for answer in answers} == {200}

    asyncio.run(scenario())
    assert len(drawers.asked) == 20


def test_pipelined_requests_are_answered_in_their_order_up_to_the_first_that_closes() -> None:
    """A picture's connection is closed, so what came behind it in one packet is not drawn."""
    drawers = FakeDrawers()

    async def read_all(address: str, sent: bytes) -> bytes:
        parts = urlsplit(address)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(sent)
        answered = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answered

    async def scenario() -> None:
        async with listening(http_api(drawers)) as address:
            healths = data(Hostile("GET /healthz"), address) * 49
            last = data(Hostile("GET /healthz", headers=("connection: close",)), address)
            answered = await read_all(address, healths + last)
            assert answered.count(b"HTTP/1.1 200 OK") == 50
            good = data(Hostile(body=GOOD), address)
            answered = await read_all(address, good * 50)
            assert answered.count(b"HTTP/1.1") == 1

    asyncio.run(scenario())
    assert len(drawers.asked) == 1


def test_a_body_that_is_longer_than_it_says_is_no_second_request() -> None:
    """What follows a refused body might be anything: the connection is closed with the refusal."""
    drawers = FakeDrawers()

    async def scenario() -> None:
        async with listening(http_api(drawers)) as address:
            host = urlsplit(address).netloc
            hidden = Hostile(body=GOOD).data(host, KEY)
            outer = Hostile(headers=(JSON, "content-length: 5"), body=GOOD[:5], measured=False)
            parts = urlsplit(address)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(outer.data(host, KEY) + hidden)
            answered = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            assert answered.count(b"HTTP/1.1") == 1
            assert json.loads(answered.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_json"

    asyncio.run(scenario())
    assert not drawers.asked
