"""Proof: 200 clients that flood a service get 4xx in OpenAI's shape; it lives, and does not grow.

`darkroom serve` as a command, with keys. Most clients send what cannot be honoured: every request
of tests/helpers/hostile_requests.py, a megabyte of prompt with and without length, wrong keys,
Ray's own headers, bodies that drip or never end, sockets that say nothing. Others read their
answers slowly or not at all, and some draw. Its logs hold neither key nor prompt.
SERVE_FLOOD_SECONDS sets how long (60 by default); the service is on this machine's loopback
address. `build/proofs/serve-flood.json` has the counts and the memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from tests.helpers.hostile_requests import HOSTILE, Hostile, answer_to
from tests.helpers.hostile_requests import fault_of as hostile_fault_of
from tests.helpers.proof import keep, write_json
from tests.helpers.served import Served, served
from tests.helpers.tiny_artifacts import publish_model

SECONDS = float(os.environ.get("SERVE_FLOOD_SECONDS", "60"))
NUM_CLIENTS = 200
KEY = "sk-" + "Zq8wX2" * 8
WRONG = "sk-" + "wrong9" * 8
WORDS = "a-prompt-that-nobody-may-log"
PATH = "/v1/images/generations"
GOOD: dict[str, Any] = {"prompt": "7", "steps": 5}
MEGABYTE = "x" * 2**20
CHUNK = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Each client would load all certificates of the machine, which takes longer than the flood."""
REQUEST_SECONDS = 300.0
"""One that takes longer is a fault, and no reason to wait for it for ever."""
GROWTH_BYTES = 64 * 2**20
"""What a process may have more at the end than after its first half minute under the same load."""

PRINTED = ("clients", "seconds", "answers", "drawn", "num_faults", "log_files", "megabytes",
           "seconds_of_a_picture_afterwards")  # fmt: skip

Outcome = tuple[int, Any]
"""Status and body."""
Client = httpx2.AsyncClient


def headers(key: str = KEY, **more: str) -> dict[str, str]:
    given = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    return given | {name.replace("_", "-"): value for name, value in more.items()}


async def post(client: Client, body: Any, **given: str) -> Outcome:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await client.post(PATH, content=content, headers=headers(**given))
    return answer.status_code, answer.json()


async def unmeasured(client: Client) -> Outcome:
    """A megabyte in pieces, without Content-Length."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(64):
            yield b"x" * 2**14
        yield b'"}'

    answer = await client.post(PATH, content=pieces(), headers=headers())
    return answer.status_code, answer.json()


async def slow_reader(client: Client) -> Outcome:
    """A stream that is read a little at a time, and left."""
    body = {**GOOD, "stream": True, "partial_images": 3, "n": 4}
    async with client.stream("POST", PATH, json=body, headers=headers()) as answer:
        if answer.status_code != httpx2.codes.OK:
            return answer.status_code, json.loads(await answer.aread())
        async for _ in answer.aiter_bytes(16):
            await asyncio.sleep(0.5)
            if random.random() < 0.1:
                break
    return answer.status_code, None


async def no_reader(client: Client) -> Outcome:
    """Asks, and reads nothing for a while."""
    parts = urlsplit(str(client.base_url))
    body = json.dumps({**GOOD, "n": 4}).encode()
    lines = [f"POST {PATH} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers().items()]
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    await asyncio.sleep(3)
    writer.close()
    return 0, None


async def slow_writer(client: Client) -> Outcome:
    """A body that drips, until the service has had enough of it."""
    parts = urlsplit(str(client.base_url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"POST {PATH} HTTP/1.1", f"host: {parts.netloc}", "content-length: 1000"]
    lines += [f"{name}: {value}" for name, value in headers().items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    first = asyncio.create_task(reader.readline())
    while not first.done():
        writer.write(b" ")
        await asyncio.sleep(1)
    status = int((await first).split()[1])
    await reader.readuntil(b"\r\n\r\n")
    body = json.loads((await reader.read(4096)).split(b"\r\n")[0])
    writer.close()
    return status, body


async def half_open(client: Client) -> Outcome:
    """Says half of what it wants, and waits."""
    parts = urlsplit(str(client.base_url))
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(random.choice([b"", b"POST /v1/ima", b"POST / HTTP/1.1\r\nx: "]))
    await asyncio.sleep(5)
    writer.close()
    return 0, None


async def endless(client: Client) -> Outcome:
    """Chunks without end; whoever is refused while sending may get a reset in place of it."""
    start = Hostile(headers=("content-type: application/json", "transfer-encoding: chunked"),
                    measured=False).data(urlsplit(str(client.base_url)).netloc, KEY)  # fmt: skip
    try:
        answer = await answer_to(str(client.base_url), start + CHUNK * 128)
    except ConnectionError:
        return 0, None
    return answer.status, json.loads(answer.body)


async def hostile(client: Client, asked: Hostile) -> Outcome:
    """One of the table's; its own fault in place of a body that is not as it should be."""
    address = str(client.base_url)
    answer = await answer_to(address, asked.data(urlsplit(address).netloc, KEY))
    return answer.status, {"fault": hostile_fault_of(asked, answer)}


ASKED: dict[str, tuple[Callable[[Client], Awaitable[Outcome]], set[int]]] = {
    "draws": (lambda c: post(c, GOOD), {200, 429}),
    "a megabyte": (lambda c: post(c, {"prompt": MEGABYTE}), {413}),
    "a megabyte, unmeasured": (unmeasured, {413}),
    "a prompt too long": (lambda c: post(c, {"prompt": WORDS * 2000}), {400}),
    "no JSON": (lambda c: post(c, b'{"prompt": "' + WORDS.encode()), {400}),
    "an unknown field": (lambda c: post(c, {**GOOD, "promt": WORDS}), {400}),
    "a wrong key": (lambda c: post(c, GOOD, key=WRONG), {401}),
    "no bearer": (lambda c: post(c, GOOD, authorization="Basic eDp5"), {401}),
    "another site": (lambda c: post(c, GOOD, origin="https://evil.example"), {403}),
    "another type": (lambda c: post(c, GOOD, content_type="text/plain"), {415}),
    "Ray's headers": (
        lambda c: post(
            c, GOOD, x_request_timeout_seconds="0", x_request_disconnect_disabled="?1",
            serve_multiplexed_model_id="x",
        ),
        {200, 429},
    ),
    "reads slowly": (slow_reader, {200, 429}),
    "reads nothing": (no_reader, {0}),
    "writes slowly": (slow_writer, {408, 429}),
    "half open": (half_open, {0}),
    "never ends": (endless, {0, 413}),
    **{
        kind: (partial(hostile, asked=asked), set(asked.statuses))
        for kind, asked in HOSTILE.items()
    },
}  # fmt: skip


OWN = [kind for kind in ASKED if kind not in HOSTILE]


def fault_of(status: int, body: Any, expected: set[int]) -> str:
    """What is wrong with an answer; nothing where it is as it should be."""
    if status not in expected:
        return f"{status} {str(body)[:200]}"
    if isinstance(body, dict) and "fault" in body:
        return str(body["fault"])
    if status < httpx2.codes.BAD_REQUEST:
        return ""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return f"not OpenAI's shape: {str(body)[:200]}"
    return ""


def kinds_of(number: int, chance: random.Random) -> Iterator[str]:
    """All clients together begin with every kind; then each goes by chance."""
    kinds = list(ASKED)
    yield kinds[number % len(kinds)]
    while True:
        # What draws or waits is asked as often as all that is refused at once.
        yield chance.choice(OWN if chance.random() < 0.5 else kinds)


async def client_of(
    address: str, number: int, until: float, seen: Counter[str], faults: list[str]
) -> None:
    chance = random.Random(number)
    async with Client(base_url=address, timeout=120, trust_env=False, verify=NO_TLS) as client:
        for kind in kinds_of(number, chance):
            if time.monotonic() >= until:
                return
            ask, expected = ASKED[kind]
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    status, body = await ask(client)
            # Also an answer that cannot be read: IndexError, ValueError.
            except (httpx2.HTTPError, OSError, EOFError, ValueError, IndexError) as error:
                faults.append(f"{kind}: {error!r}")
                continue
            seen[f"{kind}: {status}"] += 1
            if fault := fault_of(status, body, expected):
                faults.append(f"{kind}: {fault}")
            await asyncio.sleep(chance.random())


async def flood(service: Served) -> tuple[Counter[str], list[str], list[dict[str, int]]]:
    """What was answered, what was wrong with it, and the memory as it went."""
    seen: Counter[str] = Counter()
    faults: list[str] = []
    until = time.monotonic() + SECONDS
    clients = [
        asyncio.create_task(client_of(service.address, number, until, seen, faults))
        for number in range(NUM_CLIENTS)
    ]
    memory = []
    while not all(client.done() for client in clients):
        memory.append(await asyncio.to_thread(service.replicas))
        await asyncio.sleep(1)
    await asyncio.gather(*clients)
    return seen, faults, memory


def test_two_hundred_clients_flood_it_in_vain(tmp_path: Path) -> None:
    place = tmp_path / "digits" / "model"
    publish_model(place)
    keys = tmp_path / "keys"
    keys.write_text(f"team {KEY}\n")
    with served(str(place), "--keys", str(keys)) as service:
        before = set(service.replicas())
        seen, faults, memory = asyncio.run(flood(service))
        after = service.replicas()
        with httpx2.Client(base_url=service.address, timeout=60, trust_env=False) as client:
            began = time.monotonic()
            last = client.post(PATH, json=GOOD, headers=headers())
            seconds = time.monotonic() - began
        logs = list(service.written())
        told = [
            str(path)
            for path in logs
            for word in (KEY, WRONG, WORDS)
            if word.encode() in path.read_bytes()
        ]
    settled = memory[len(memory) // 2]
    figures = {
        "clients": NUM_CLIENTS, "seconds": SECONDS, "answers": sum(seen.values()),
        "by_kind": dict(sorted(seen.items())), "faults": faults[:20], "num_faults": len(faults),
        "drawn": sum(seen[f"{kind}: 200"] for kind in OWN),
        "log_files": len(logs),
        "megabytes": {
            name: [round(step.get(name, 0) / 2**20) for step in (memory[0], settled, after)]
            for name in after
        },
        "seconds_of_a_picture_afterwards": round(seconds, 2),
    }  # fmt: skip
    write_json("serve-flood", figures)
    keep("serve-flood-figures", [{name: figures[name] for name in PRINTED}])
    assert not faults, figures
    assert {name.split(": ")[0] for name in seen} == set(ASKED), "not every kind was asked"
    assert set(after) == before, "a process died"
    assert last.status_code == httpx2.codes.OK, last.text
    grown = {name: rss - settled[name] for name, rss in after.items()}
    assert max(grown.values()) < GROWTH_BYTES, figures
    assert not told, "a key or a prompt is in a log"
