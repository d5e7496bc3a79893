"""`check` tells every way of losing access apart, each with its remedy.

What SeaweedFS can refuse is refused by the real server. What it cannot (another region, a
skewed clock, expired credentials, a server without conditional writes) is answered by a small
HTTP server in this file, in the words of S3's own documentation.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conftest import READER, TEST_BUCKET
from tests.helpers.processes import refusing_port

from darkroom.config import JobConfig
from darkroom.errors import StorageAccessError
from darkroom.storage import CheckReport, EmbeddedServer, check, open_output, open_store

ALL = [
    "endpoint",
    "credentials",
    "clock",
    "region",
    "bucket",
    "list",
    "write",
    "read",
    "compare-and-swap",
    "delete",
]


def _outcomes(report: CheckReport) -> dict[str, str]:
    assert [probe.name for probe in report.probes] == ALL
    return {probe.name: probe.outcome for probe in report.probes}


def _assert_stops_at(report: CheckReport, name: str, *said: str, before: str = "ok") -> None:
    """`name` failed with words and a remedy; before it all is well, after it nothing is known."""
    outcomes = _outcomes(report)
    position = ALL.index(name)
    assert [outcomes[each] for each in ALL[:position]] == [before] * position
    assert outcomes[name] == "failed"
    assert {outcomes[each] for each in ALL[position + 1 :]} <= {"skipped"}
    (probe,) = report.failed
    assert probe.remedy
    for words in said:
        assert words in f"{probe.detail} {probe.remedy}"
    assert not report.ok
    assert f"-> {probe.remedy}" in report.text()


def test_a_place_to_work_passes_and_is_left_clean(store_uri: str) -> None:
    report = check(store_uri)
    assert set(_outcomes(report).values()) == {"ok"}
    assert report.ok
    assert list(open_store(store_uri).list()) == []
    assert json.loads(json.dumps(report.to_dict()))["ok"] is True


def test_a_missing_bucket(s3: EmbeddedServer) -> None:
    _assert_stops_at(check("s3://no-such-bucket/x"), "bucket", "does not exist", "create it")


@pytest.mark.parametrize(
    ("variable", "code"),
    [
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
    ],
)
def test_wrong_credentials_are_named_and_never_shown(
    bucket_uri: str, monkeypatch: pytest.MonkeyPatch, variable: str, code: str
) -> None:
    monkeypatch.setenv(variable, "WRONGWRONGWRONG")
    report = check(bucket_uri)
    _assert_stops_at(report, "credentials", code, "AWS_ACCESS_KEY_ID")
    assert "WRONG" not in report.text()


def test_a_user_who_only_reads(
    s3: EmbeddedServer, bucket_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment_for(READER).items():
        monkeypatch.setenv(name, value)
    report = check(bucket_uri)
    outcomes = _outcomes(report)
    assert outcomes["list"] == outcomes["read"] == "ok"
    assert outcomes["write"] == "failed"
    assert outcomes["compare-and-swap"] == outcomes["delete"] == "skipped"
    assert "s3:PutObject" in report.text()
    # The same refusal stops a job before its work.
    with pytest.raises(StorageAccessError, match="this identity may not write here"):
        open_output(bucket_uri, kind="dataset", config=JobConfig(output=bucket_uri))


def test_an_anonymous_user_of_a_private_bucket(bucket_uri: str) -> None:
    report = check(bucket_uri.replace("s3://", "s3://anonymous@"))
    outcomes = _outcomes(report)
    assert outcomes["bucket"] == "ok"
    assert outcomes["list"] == outcomes["read"] == "failed"
    assert outcomes["write"] == "skipped"


def test_no_credentials(bucket_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    _assert_stops_at(check(bucket_uri), "credentials", "none were found", "s3://anonymous@bucket")


def test_half_of_the_credentials(bucket_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    _assert_stops_at(check(bucket_uri), "credentials", "none were found")


def test_a_profile_that_does_not_exist(bucket_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    # The server has not been asked, and nothing is said of it.
    _assert_stops_at(check(bucket_uri), "credentials", "AWS_PROFILE", before="skipped")


def test_nothing_listens(bucket_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusing_port() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
        _assert_stops_at(check(bucket_uri), "endpoint", "cannot be reached", "AWS_ENDPOINT_URL_S3")
        with pytest.raises(StorageAccessError, match="cannot be reached"):
            open_store(bucket_uri).get("a")


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("127.0.0.1:8333", "write https://127.0.0.1:8333"),
        ("localhost:8333", "write https://localhost:8333"),
        ("ftp://host", "is not an http:// or https:// URL"),
        ("http://", "is not an http:// or https:// URL"),
        ("http://s3.example.com", "unencrypted to a public host"),
        ("http://8.8.8.8:9000", "unencrypted to a public host"),
        ("http://user:secret@127.0.0.1", "carries credentials"),
    ],
)
def test_an_unfit_endpoint(
    bucket_uri: str, monkeypatch: pytest.MonkeyPatch, endpoint: str, said: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    report = check(bucket_uri)
    _assert_stops_at(report, "endpoint", said)
    assert "secret" not in report.text()


Answer = Callable[[str, str, set[str]], tuple[int, str, str]]
"""From method, path and names of headers to status, error code, and further XML."""


@contextmanager
def _answering(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that gives `answer` to everything, named by the environment."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Callable[[], None]:
            if name.startswith("do_"):
                return self._reply
            raise AttributeError(name)

        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            names = {name.lower() for name in self.headers}
            status, code, more = answer(self.command, self.path, names)
            body = b""
            if code:
                body = f"<Error><Code>{code}</Code><Message>m</Message>{more}</Error>".encode()
            elif self.command in ("GET", "POST"):
                body = b"<Result></Result>"
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("etag", '"0"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


URI = f"s3://{TEST_BUCKET}/x"
REFUSALS = [
    ((301, "PermanentRedirect", "<Region>eu-west-3</Region>"), "region", "AWS_REGION=eu-west-3"),
    (
        (400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
        "region",
        "AWS_REGION=eu-west-3",
    ),
    ((400, "IllegalLocationConstraintException", ""), "region", "set AWS_REGION"),
    ((403, "RequestTimeTooSkewed", ""), "clock", "set the clock"),
    ((400, "ExpiredToken", ""), "credentials", "have expired"),
    ((400, "TokenRefreshRequired", ""), "credentials", "have expired"),
    ((403, "InvalidToken", ""), "credentials", "does not accept them"),
]


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(("answer", "probe", "said"), REFUSALS)
def test_refusals_that_only_other_servers_give(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str, str], probe: str, said: str
) -> None:
    with _answering(lambda *_: answer, monkeypatch):
        _assert_stops_at(check(URI), probe, said)
        with pytest.raises(StorageAccessError) as caught:
            open_output(URI, kind="dataset", config=JobConfig(output=URI))
        assert said in str(caught.value)


def _forgetful(method: str, path: str, headers: set[str]) -> tuple[int, str, str]:
    """A server that takes every write, whatever its condition; nothing is in it yet."""
    del headers
    is_read = method == "GET" and "list-type" not in path and "/probe" not in path
    return (404, "NoSuchKey", "") if is_read else (200, "", "")


def _unaware(method: str, path: str, headers: set[str]) -> tuple[int, str, str]:
    """A server that says that it does not know conditional writes."""
    if method == "PUT" and {"if-match", "if-none-match"} & headers:
        return 501, "NotImplemented", ""
    return _forgetful(method, path, headers)


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("server", [_forgetful, _unaware])
def test_a_server_without_conditional_writes_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch, server: Answer
) -> None:
    with _answering(server, monkeypatch):
        with pytest.raises(StorageAccessError, match="conditional writes") as caught:
            open_output(URI, kind="dataset", config=JobConfig(output=URI))
        assert caught.value.exit_code == 2
        report = check(URI)
        outcomes = _outcomes(report)
        assert [name for name in ALL if outcomes[name] != "ok"] == ["compare-and-swap"]
        assert "use a store that does" in report.text()
