"""Fixtures that every suite shares: the real S3 server and fresh places to write to.

One embedded server serves the whole session, and its address and credentials stand in the
environment for as long. `bucket_uri` and `local_uri` give each test a place of its own;
`store_uri` runs a test on both.
"""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

from darkroom.storage import EmbeddedServer

# A time limit for each example would fail on a busy machine; pytest's limits each test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

TEST_BUCKET = "darkroom-tests"
READER = "reader"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A running S3 server, found through the environment; `reader` may only read and list."""
    directory = tmp_path_factory.mktemp("s3")
    with (
        EmbeddedServer(directory, identities={READER: ["Read", "List"]}) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in server.environment.items():
            environment.setenv(name, value)
        server.create_bucket(TEST_BUCKET)
        yield server


@pytest.fixture
def bucket_uri(s3: EmbeddedServer) -> str:
    """An empty S3 prefix of this test's own."""
    return f"s3://{TEST_BUCKET}/{uuid.uuid4().hex}"


@pytest.fixture
def local_uri(tmp_path: Path) -> str:
    """An empty folder of this test's own, as a URI."""
    return f"file://{tmp_path}/output"


@pytest.fixture(params=["local", "s3"])
def store_uri(request: pytest.FixtureRequest) -> str:
    """An empty place of this test's own, once on local files and once on S3."""
    name = "local_uri" if request.param == "local" else "bucket_uri"
    uri: str = request.getfixturevalue(name)
    return uri


class LosingProxy:
    """Forwards every request to the real server, and loses the answers it is told to lose.

    The server has then done what was asked, and the client does not know it.
    """

    def __init__(self, upstream: str) -> None:
        self._host = urlsplit(upstream).netloc
        self._to_lose: list[tuple[str, str]] = []
        self.num_lost = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Callable[[], None]:
                if name.startswith("do_"):
                    return lambda: proxy.forward(self)
                raise AttributeError(name)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Tests print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def lose(self, method: str, suffix: str) -> None:
        """Lose the next answer to `method` on a path that ends so."""
        self._to_lose.append((method, suffix))

    def forward(self, request: BaseHTTPRequestHandler) -> None:
        """Pass one request on and, perhaps, its answer back."""
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        upstream = http.client.HTTPConnection(self._host)
        # The Host header is signed: it must arrive as it was sent.
        upstream.putrequest(
            request.command, request.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        upstream.close()
        for wanted in self._to_lose:
            method, suffix = wanted
            if request.command == method and urlsplit(request.path).path.endswith(suffix):
                self._to_lose.remove(wanted)
                self.num_lost += 1
                request.close_connection = True
                return
        request.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length"):
                request.send_header(name, value)
        length = answer.getheader("content-length") if request.command == "HEAD" else len(data)
        request.send_header("content-length", str(length))
        request.end_headers()
        request.wfile.write(data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def losing_proxy(s3: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LosingProxy]:
    """A proxy before the S3 server, which the environment names for as long as the test runs."""
    with LosingProxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        yield proxy
