"""Requests that a stranger would try, byte by byte, and what a service may answer to each.

Sent over a plain socket, since no HTTP client sends most of them. What HTTP's own server refuses
is answered in plain text; whatever reaches the service, in OpenAI's shape (`code`).
"""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

DRAW = "POST /v1/images/generations"
JSON = "content-type: application/json"
GOOD = b'{"prompt": "7", "steps": 1}'
FORM = "content-type: multipart/form-data; boundary=b"
PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n\r\nx\r\n--b--\r\n'
)
BOMB = gzip.compress(b'{"prompt": "' + b"x" * 2**24 + b'"}')
"""16 MiB in 16 kB."""
ACCENTS = "\u0301" * 125_000 + "\u0327" * 125_000
"""Which Unicode orders by kind: as a rule in the square of their number."""
STRINGS = ("prompt", "negative_prompt", "model", "size", "class", "lora", "sampler", "user")


@dataclass(frozen=True)
class Hostile:
    """One request."""

    line: str = DRAW
    """Method and target."""
    body: bytes = b""
    headers: tuple[str, ...] = (JSON,)
    statuses: frozenset[int] = frozenset({400})
    code: str | None = None
    """OpenAI's; None where the answer is no error of the service's."""
    measured: bool = True
    """With the body's length, unless a header has another."""

    def data(self, host: str, key: str) -> bytes:
        """As it goes over the wire."""
        lines = [f"{self.line} HTTP/1.1", f"host: {host}", f"authorization: Bearer {key}"]
        lines += self.headers
        if self.measured:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + self.body


def refused(code: str, body: bytes | str, status: int = 400, *headers: str) -> Hostile:
    """A body that the service refuses."""
    data = body if isinstance(body, bytes) else body.encode()
    return Hostile(body=data, headers=headers or (JSON,), statuses=frozenset({status}), code=code)


def elsewhere(line: str, status: int, code: str | None, **more: object) -> Hostile:
    """A method or address that is none."""
    return Hostile(line, statuses=frozenset({status}), code=code, **more)  # type: ignore[arg-type]


def broken(*headers: str, body: bytes = GOOD, line: str = DRAW) -> Hostile:
    """No HTTP."""
    return Hostile(line, body, (JSON, *headers), measured=False)


BODIES = {
    "a key twice": refused("invalid_json", '{"prompt": "7", "n": 1, "n": 10}'),
    "a key twice, spelt apart": refused("invalid_json", '{"n": 1, "\\u006e": 10}'),
    "NaN": refused("invalid_json", '{"prompt": "7", "guidance_scale": NaN}'),
    "Infinity": refused("invalid_json", '{"prompt": "7", "guidance_scale": -Infinity}'),
    "infinite, written out": refused("invalid_value", '{"prompt": "7", "guidance_scale": 1e999}'),
    "a float for a count": refused("invalid_type", '{"prompt": "7", "n": 1e0}'),
    "true for a count": refused("invalid_type", '{"prompt": "7", "n": true}'),
    "n = 10^9": refused("invalid_value", '{"prompt": "7", "n": 1000000000}'),
    "n of 5000 digits": refused("invalid_json", '{"prompt": "7", "n": 1' + "0" * 4999 + "}"),
    "deep arrays": refused("invalid_json", '{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}"),
    "deep objects": refused("invalid_json", '{"a":' * 80_000 + "1" + "}" * 80_000),
    "a little deep": refused("invalid_type", '{"prompt": ' + "[" * 400 + "]" * 400 + "}"),
    "many keys": refused("unknown_parameter", json.dumps({f"k{at}": 0 for at in range(30_000)})),
    "a long key": refused("unknown_parameter", json.dumps({"promt" * 80_000: 1})),
    "half a character in a key": refused("invalid_value", '{"prompt": "7", "\\udc80": 1}'),
    "a class of accents": refused("unknown_class", '{"class": "' + ACCENTS + '"}'),
    "a prompt of accents": refused(
        "unknown_class", '{"prompt": "' + ACCENTS[109_000:141_000] + '"}'
    ),
    "a byte order mark": refused("invalid_json", b"\xef\xbb\xbf" + GOOD),
    "UTF-16": refused("invalid_json", GOOD.decode().encode("utf-16")),
    "no UTF-8": refused("invalid_json", b'{"prompt": "\xff"}'),
    "NUL": refused("unknown_class", '{"prompt": "7\\u0000"}'),
    "nothing": refused("invalid_json", b""),
    "null": refused("invalid_json", b"null"),
    "a form": refused("unsupported_media_type", PARTS, 415, FORM),
    "no type": refused("unsupported_media_type", GOOD, 415, "accept: */*"),
    "a gzip bomb": refused("unsupported_media_type", BOMB, 415, JSON, "content-encoding: gzip"),
    "twice packed": refused(
        "unsupported_media_type", BOMB, 415, JSON, "content-encoding: gzip, br"
    ),
    "packed, and not said so": refused("invalid_json", BOMB),
    **{
        f"half a character in {name}": refused(
            "invalid_value", json.dumps({"prompt": "7", name: "\ud83d"})
        )
        for name in STRINGS
    },
}  # fmt: skip
"""Held by the JSON that they are."""

ADDRESSES = {
    "edits": elsewhere("POST /v1/images/edits", 404, "not_found", body=PARTS, headers=(FORM,)),
    "variations": elsewhere(
        "POST /v1/images/variations", 404, "not_found", body=PARTS, headers=(FORM,)
    ),
    "a slash more": elsewhere("POST /v1/images/generations/", 404, "not_found", body=GOOD),
    "two slashes": elsewhere("GET //evil.example/v1/models", 404, "not_found"),
    "upwards": elsewhere("GET /v1/models/../../../etc/passwd", 404, "model_not_found"),
    "upwards, quoted": elsewhere("GET /v1/models/%2e%2e%2fetc%2fpasswd", 404, "model_not_found"),
    "NUL and no UTF-8": elsewhere("GET /v1/models/%00%ff%fe", 404, "model_not_found"),
    "a long address": elsewhere("GET /" + "a" * 60_000, 404, "not_found"),
    "a long query": elsewhere("GET /nowhere?" + "a=b&" * 15_000, 404, "not_found"),
    "FastAPI's pages": elsewhere("GET /docs", 404, "not_found"),
    "FastAPI's schema": elsewhere("GET /openapi.json", 404, "not_found"),
    "a file of ours": elsewhere("GET /page.py", 404, "not_found"),
    "GET": elsewhere("GET /v1/images/generations", 405, "method_not_allowed"),
    "PUT": elsewhere("PUT /v1/images/generations", 405, "method_not_allowed", body=GOOD),
    "PATCH": elsewhere("PATCH /v1/models", 405, "method_not_allowed", body=GOOD),
    "DELETE": elsewhere("DELETE /v1/models/digits", 405, "method_not_allowed"),
    "OPTIONS": elsewhere("OPTIONS /v1/images/generations", 405, "method_not_allowed"),
    "TRACE": elsewhere("TRACE /v1/images/generations", 405, "method_not_allowed"),
    "PROPFIND": elsewhere("PROPFIND /", 405, "method_not_allowed"),
    "HEAD": elsewhere("HEAD /v1/images/generations", 405, None),
}  # fmt: skip
"""Methods and addresses."""

HEADERS = {
    "five thousand headers": Hostile(
        "GET /healthz",
        headers=tuple(f"x-{at}: {at}" for at in range(5000)),
        statuses=frozenset({200, 400, 431}),
    ),
    "a header of half a megabyte": Hostile(
        "GET /healthz", headers=("cookie: " + "a" * 2**19,), statuses=frozenset({200, 400, 431})
    ),
    "a key of half a megabyte": Hostile(
        "GET /healthz",
        headers=("authorization: Bearer " + "a" * 2**19,),
        statuses=frozenset({200, 400, 431}),
    ),
    "another protocol": Hostile(
        "GET /healthz",
        headers=("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk"),
        statuses=frozenset({200}),
    ),
    "a web socket": Hostile(
        "GET /v1/images/generations",
        headers=(
            "connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        measured=False,
        statuses=frozenset({403}),
    ),
}  # fmt: skip
"""Header tricks that are HTTP."""

BROKEN = {
    "a negative length": broken("content-length: -1"),
    "no length": broken("content-length: abc"),
    "two lengths": broken("content-length: 5", "content-length: 27"),
    "a list of lengths": broken("content-length: 27, 27"),
    "a length of 30 digits": broken("content-length: 1" + "0" * 30),
    "length and chunks": broken("content-length: 5", "transfer-encoding: chunked"),
    "chunks of no size": broken("transfer-encoding: chunked", body=b"zz\r\nabc\r\n0\r\n\r\n"),
    "chunks of 2^68 bytes": broken("transfer-encoding: chunked", body=b"f" * 17 + b"\r\nabc\r\n"),
    "chunks, misspelt": broken("transfer-encoding: xchunked"),
    "a space before the colon": broken("content-length : 27"),
    "NUL in a header": broken("x: a\0b", "content-length: 27"),
    "no method of HTTP": broken(line="BREW /pot", body=b""),
    "no address": broken(line="GET", body=b""),
}
"""What HTTP's server refuses before the service hears of it."""

NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.9\r\n",
    "noise": bytes(range(256)) * 64,
}
"""The first bytes of something else."""

HOSTILE = {**BODIES, **ADDRESSES, **HEADERS, **BROKEN}


@dataclass(frozen=True)
class Answer:
    """Status, and the body's text."""

    status: int
    body: bytes


async def answer_to(address: str, data: bytes) -> Answer:
    """What a service answers to these bytes. Errors: OSError, asyncio.IncompleteReadError."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    sending = asyncio.create_task(_send(writer, data))
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        lengths = [
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        has_body = not data.startswith(b"HEAD ")
        body = await reader.readexactly(lengths[0]) if lengths and has_body else b""
        return Answer(status, body)
    finally:
        sending.cancel()
        writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    try:
        writer.write(data)
        await writer.drain()
    except OSError:
        pass  # who has read enough closes


def fault_of(asked: Hostile, answer: Answer) -> str:
    """What is wrong with an answer; nothing where it is as it should be."""
    told = f"{answer.status} {answer.body[:200]!r}"
    if answer.status not in asked.statuses:
        return told
    if asked.code is None:
        return ""
    error = json.loads(answer.body).get("error")
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return f"not OpenAI's shape: {told}"
    return "" if error["code"] == asked.code else told
