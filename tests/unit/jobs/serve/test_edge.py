"""Who may ask from where: other sites' pages, other names, other types, large bodies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.helpers.serving import FakeDrawers, client_of, http_api, listening

from darkroom.jobs.serve.edge import FORGOTTEN_BYTES

PATH = "/v1/images/generations"
KEY = "k" * 32


def ask(
    method: str = "POST",
    path: str = PATH,
    *,
    headers: dict[str, str] | None = None,
    **settings: Any,
) -> tuple[httpx2.Response, FakeDrawers]:
    drawers = FakeDrawers()

    async def send() -> httpx2.Response:
        async with client_of(http_api(drawers, **settings)) as client:
            content = b'{"prompt": "7", "steps": 1}' if method == "POST" else b""
            given = {"content-type": "application/json", **(headers or {})}
            return await client.request(method, path, content=content, headers=given)

    return asyncio.run(send()), drawers


@pytest.fixture
def keys(tmp_path: Path) -> str:
    (tmp_path / "keys").write_text(f"ann {KEY}\n")
    return str(tmp_path / "keys")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"host": "evil.example"}, 403, "host_not_allowed"),
        ({"host": "127.0.0.1.evil.example:8000"}, 403, "host_not_allowed"),
        ({"host": ""}, 403, "host_not_allowed"),
        ({"host": "[::1"}, 403, "host_not_allowed"),
        ({"origin": "https://evil.example"}, 403, "origin_not_allowed"),
        ({"origin": "null"}, 403, "origin_not_allowed"),
        ({"origin": "http://127.0.0.1:9999"}, 403, "origin_not_allowed"),
        ({"origin": "http://["}, 403, "origin_not_allowed"),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}, 403, "origin_not_allowed"),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403, "origin_not_allowed"),
        ({"content-type": "text/plain"}, 415, "unsupported_media_type"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    ],
)
def test_another_site_cannot_draw(headers: dict[str, str], status: int, code: str) -> None:
    response, drawers = ask(headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert "access-control-allow-origin" not in response.headers
    assert not drawers.asked


@pytest.mark.parametrize("path", ["/v1/models", "/readyz", "/page.js"])
def test_another_site_cannot_read(path: str) -> None:
    for headers in (
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"host": "rebound.example"},
    ):
        assert ask("GET", path, headers=headers)[0].status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:8000"},
        {"host": "[::1]:8000"},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {"content-type": "application/json; charset=utf-8"},
    ],
)
def test_this_machine_can_draw(headers: dict[str, str]) -> None:
    response, _ = ask(headers=headers)
    assert response.status_code == 200
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_link_on_another_site_may_lead_to_the_page() -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask("GET", "/", headers=headers)[0].status_code == 200


def test_configured_origins_may_call() -> None:
    origins = ["https://app.example.org"]
    headers = {"origin": "https://app.example.org", "sec-fetch-site": "cross-site"}
    response, _ = ask(headers=headers, origins=origins)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "Origin" in response.headers["vary"]
    preflight, drawers = ask("OPTIONS", headers=headers, origins=origins)
    assert preflight.status_code == 204
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    assert not drawers.asked
    other = {"origin": "https://app.example.org.evil.example"}
    assert ask("OPTIONS", headers=other, origins=origins)[0].status_code == 403


def test_with_keys_any_name_will_do_and_a_key_is_needed(keys: str) -> None:
    host = {"host": "draw.example.org"}
    refused, drawers = ask(headers=host, keys=keys)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "missing_api_key"
    assert refused.headers["www-authenticate"] == "Bearer"
    wrong, _ = ask(headers={**host, "authorization": "Bearer nope"}, keys=keys)
    assert wrong.json()["error"]["code"] == "invalid_api_key"
    assert "nope" not in wrong.text
    right = {**host, "authorization": f"Bearer {KEY}"}
    assert ask(headers=right, keys=keys)[0].status_code == 200
    assert ask(headers=right, keys=keys, hosts=["other.example.org"])[0].status_code == 403
    assert ask("GET", "/v1/models", headers=host, keys=keys)[0].status_code == 401
    assert ask("GET", "/healthz", headers=host, keys=keys)[0].status_code == 200
    assert not drawers.asked


def test_a_body_without_a_length_is_counted_as_it_arrives() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 4096
            yield b" " * 4096

    async def scenario() -> None:
        async with client_of(http_api(FakeDrawers())) as client:
            headers = {"content-type": "application/json"}
            response = await client.post(PATH, content=endless(), headers=headers)
            assert response.status_code == 413

    asyncio.run(scenario())
    assert sent < 2 * FORGOTTEN_BYTES


@pytest.mark.parametrize("measured", [True, False])
def test_who_sends_a_little_too_much_reads_the_answer(measured: bool) -> None:
    """And is not reset while still sending."""
    part = b" " * 2**14

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield part

    async def scenario() -> list[int]:
        async with listening(http_api(FakeDrawers())) as address:

            async def send(client: httpx2.AsyncClient) -> int:
                content = part * 64 if measured else parts()
                headers = {"content-type": "application/json"}
                url = f"{address}{PATH}"
                return (await client.post(url, content=content, headers=headers)).status_code

            async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
                return list(await asyncio.gather(*(send(client) for _ in range(20))))

    assert set(asyncio.run(scenario())) == {413}


def test_a_body_that_says_it_is_large_is_not_waited_for() -> None:
    async def scenario() -> None:
        async with listening(http_api(FakeDrawers())) as url:
            host, port = url.removeprefix("http://").split(":")

            def talk() -> bytes:
                with socket.create_connection((host, int(port)), timeout=60) as connection:
                    connection.sendall(
                        f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json"
                        "\r\nContent-Length: 99999999999\r\n\r\n{".encode()
                    )
                    return connection.recv(65536)

            assert b" 413 " in await asyncio.to_thread(talk)

    asyncio.run(scenario())


def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.jobs.serve.edge.BODY_SECONDS", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with client_of(http_api(FakeDrawers())) as client:
            headers = {"content-type": "application/json"}
            response = await client.post(PATH, content=slow(), headers=headers)
            assert response.status_code == 408
            assert response.headers["x-should-retry"] == "false"

    asyncio.run(scenario())
