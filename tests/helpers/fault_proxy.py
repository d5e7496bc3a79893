"""A proxy before the real S3 server that makes the faults which networks and servers make.

It forwards every request unchanged (the Host header is signed) and counts them; an injected
fault strikes at chosen calls. Nothing here is a stand-in for S3: every answer that is not a
fault comes from the server.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, Self
from urllib.parse import urlsplit

FaultKind = Literal[
    "slow_down",  # 503 SlowDown, as S3 throttles
    "internal_error",  # 500 InternalError
    "expired_token",  # 403 ExpiredToken, as temporary credentials end
    "skewed_clock",  # 403 RequestTimeTooSkewed
    "reset",  # connection reset before the server hears of the request
    "lost_answer",  # the server has done what was asked, and the client does not know it
    "truncated",  # the connection ends in the middle of the answer's body
    "flipped",  # one bit of the answer's body is wrong
    "flipped_upload",  # one bit of the request's body is wrong
    "trickle",  # the answer's body at 1 KB/s
]
ONE_SHOT: tuple[FaultKind, ...] = (
    "slow_down", "internal_error", "reset", "lost_answer", "truncated", "flipped",
    "flipped_upload",
)  # fmt: skip

_REFUSALS = {
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "internal_error": (500, "InternalError", "We encountered an internal error."),
    "expired_token": (403, "ExpiredToken", "The provided token has expired."),
    "skewed_clock": (403, "RequestTimeTooSkewed", "The difference is too large."),
}
TRICKLE_BYTES_PER_SECOND = 1024


@dataclass
class Fault:
    """Strikes from the `first` matching call on (counted from 1), at every `every`-th, in all
    `count` times; None: always.
    """

    kind: FaultKind
    first: int = 1
    count: int | None = 1
    every: int = 1
    method: str | None = None
    suffix: str = ""
    signed_with: str = ""
    """Only requests signed with this access key."""
    num_seen: int = field(default=0, init=False)
    num_struck: int = field(default=0, init=False)

    def strikes(self, method: str, path: str, signature: str) -> bool:
        """Count one call, and say whether it is hit."""
        if self.method not in (None, method) or not path.endswith(self.suffix):
            return False
        if self.signed_with and f"Credential={self.signed_with}/" not in signature:
            return False
        self.num_seen += 1
        due = self.num_seen >= self.first and (self.num_seen - self.first) % self.every == 0
        if due and (self.count is None or self.num_struck < self.count):
            self.num_struck += 1
            return True
        return False


class FaultProxy:
    """Forwards to `upstream`; `endpoint` is where clients find it."""

    def __init__(self, upstream: str) -> None:
        self._host = urlsplit(upstream).netloc
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._down = False
        self.num_calls = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return lambda: proxy._handle(self)
                raise AttributeError(name)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests print nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up is no news here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def inject(self, *faults: Fault) -> Iterator[None]:
        """Make these faults for as long as the block runs."""
        with self._lock:
            self._faults = list(faults)
        try:
            yield
        finally:
            with self._lock:
                self._faults = []

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Every connection is reset for as long as the block runs."""
        self._down = True
        try:
            yield
        finally:
            self._down = False

    def _fault(self, request: BaseHTTPRequestHandler) -> FaultKind | None:
        with self._lock:
            self.num_calls += 1
            if self._down:
                return "reset"
            path = urlsplit(request.path).path
            signature = request.headers.get("authorization", "")
            struck = [
                fault for fault in self._faults if fault.strikes(request.command, path, signature)
            ]
            return struck[0].kind if struck else None

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        fault = self._fault(request)
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        if fault == "reset":
            _reset(request)
        elif fault in _REFUSALS:
            _refuse(request, *_REFUSALS[fault])
        else:
            sent = _flip(body) if fault == "flipped_upload" else body
            status, headers, data = self._forward(request, sent)
            if fault == "lost_answer":
                request.close_connection = True
            else:
                _answer(request, status, headers, data, fault)

    def _forward(
        self, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self._host)
        upstream.putrequest(
            request.command, request.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), data


def _answer(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: list[tuple[str, str]],
    data: bytes,
    fault: FaultKind | None,
) -> None:
    request.send_response_only(status)
    length = str(len(data))
    for name, value in headers:
        if name.lower() == "content-length" and request.command == "HEAD":
            length = value
        elif name.lower() not in ("transfer-encoding", "content-length"):
            request.send_header(name, value)
    request.send_header("content-length", length)
    request.end_headers()
    if fault == "flipped":
        data = _flip(data)
    if fault == "trickle":
        for start in range(0, len(data), TRICKLE_BYTES_PER_SECOND // 4):
            request.wfile.write(data[start : start + TRICKLE_BYTES_PER_SECOND // 4])
            time.sleep(0.25)  # the fault itself, not a wait for something
    elif fault == "truncated":
        request.wfile.write(data[: len(data) // 2])
        request.close_connection = True
    else:
        request.wfile.write(data)


def _refuse(request: BaseHTTPRequestHandler, status: int, code: str, message: str) -> None:
    data = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    request.send_response_only(status)
    request.send_header("content-type", "application/xml")
    request.send_header("content-length", str(0 if request.command == "HEAD" else len(data)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)


def _reset(request: BaseHTTPRequestHandler) -> None:
    """Close with a reset, not with an orderly end."""
    linger = struct.pack("ii", 1, 0)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.close_connection = True
    request.connection.close()


def _flip(data: bytes) -> bytes:
    if not data:
        return data
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x01]) + data[middle + 1 :]
