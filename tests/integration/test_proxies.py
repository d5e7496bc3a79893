"""A proxy in the environment is for the outside, and this machine is reached without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conftest import TEST_BUCKET

from darkroom.cli import main
from darkroom.errors import StorageAccessError
from darkroom.storage import EmbeddedServer, check, open_store, s3_client
from darkroom.storage.s3_client import connect

ROOT = Path(__file__).parents[2]
DEAD = "http://127.0.0.1:9"
NAMES = [
    name
    for scheme in ("http", "https", "all")
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())
]


@pytest.fixture(params=[*NAMES, "all of them"])
def dead_proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that answers nobody, under each of its names."""
    for name in (*NAMES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in NAMES if request.param == "all of them" else [request.param]:
        monkeypatch.setenv(name, DEAD)


@pytest.mark.usefixtures("dead_proxy")
def test_our_server_is_reached(
    s3: EmbeddedServer, bucket_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "_connections", {})  # none that was made without the proxy
    s3.create_bucket(TEST_BUCKET)  # by a client of its own
    store = open_store(bucket_uri)
    store.put("x", b"1", if_none_match=True)
    assert store.get("x") == b"1"
    assert check(bucket_uri).ok


class _Proxy(BaseHTTPRequestHandler):
    """A forward proxy that notes what it is asked for."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        body = b"<ListBucketResult></ListBucketResult>"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


Listening = Callable[[type[BaseHTTPRequestHandler]], ThreadingHTTPServer]


@pytest.fixture
def listening() -> Iterator[Listening]:
    """Starts a server that notes in `asked` what it is asked for."""
    with ExitStack() as stack:

        def start(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            server.asked = []  # type: ignore[attr-defined]
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_remote_server_is_reached_through_it(
    s3: EmbeddedServer, listening: Listening, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    proxy = listening(_Proxy)
    for other in (*NAMES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store.test")
    monkeypatch.setattr(s3_client, "_connections", {})
    assert connect().direct is None  # which knows no proxies
    assert list(open_store("s3://remote/prefix").list()) == []
    assert proxy.asked  # type: ignore[attr-defined]
    assert all(path.startswith("http://") for path in proxy.asked)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
def test_a_proxy_that_does_not_answer_is_named(
    s3: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in (*NAMES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "http://me:secret-word@127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store.test")
    monkeypatch.setattr(s3_client, "_connections", {})
    report = check("s3://remote/prefix")
    assert not report.ok
    assert "NO_PROXY" in report.text()
    with pytest.raises(StorageAccessError, match=r"the environment's proxy.*NO_PROXY"):
        list(open_store("s3://remote/prefix").list())
    assert "secret-word" not in report.text()


def test_an_exception_alone_costs_no_direct_client(
    s3: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "corp.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://elsewhere.test")
    assert connect().direct is not None


def test_the_server_starts_and_tells_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, DEAD)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    code = (
        "from urllib.request import proxy_bypass; from darkroom.storage import open_store;"
        "assert proxy_bypass('127.0.0.1:80') and proxy_bypass('localhost');"
        "open_store('s3://darkroom/x').put('y', b'1')"
    )
    command = [
        sys.executable, "-m", "darkroom", "storage", "serve", "--data", str(tmp_path / "s3"),
        "--", sys.executable, "-c", code,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class _ApiServer(BaseHTTPRequestHandler):
    """Knows nothing, and is asked."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_an_api_server_here_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening: Listening
) -> None:
    server = listening(_ApiServer)
    kubeconfig = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [
            {"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    (tmp_path / "config").write_text(json.dumps(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    for name in NAMES:
        monkeypatch.setenv(name, DEAD)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["submit", str(ROOT / "manifests/base/train/rayjob.yaml")]) != 0
    assert server.asked  # type: ignore[attr-defined]


def test_the_command_line_keeps_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "corp.example")
    monkeypatch.delenv("no_proxy", raising=False)
    main(["--version"])
    assert os.environ["NO_PROXY"].startswith("corp.example,")
    assert "127.0.0.1" in os.environ["no_proxy"].split(",")
