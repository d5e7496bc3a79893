"""The direct client's addresses and signatures; what a server makes of them is in integration."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import certifi
import pytest
from botocore.credentials import Credentials

from darkroom.storage.s3_direct import EMPTY_SHA256, DirectClient


def _client(credentials: Any, endpoint: str, *, by_path: bool) -> DirectClient:
    return DirectClient(
        endpoint,
        region="eu-central-1",
        credentials=credentials,
        authorities=certifi.where(),
        by_path=by_path,
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
    )


def test_addresses() -> None:
    by_name = _client(None, "https://s3.eu-central-1.amazonaws.com", by_path=False)
    assert by_name.url("bucket", "a b", {}) == (
        "https://bucket.s3.eu-central-1.amazonaws.com/a%20b"
    )
    assert by_name.url("dotted.bucket", "a", {}) == (
        "https://s3.eu-central-1.amazonaws.com/dotted.bucket/a"
    )
    by_path = _client(None, "http://127.0.0.1:8333", by_path=True)
    assert by_path.url("bucket", "ä/~", {"uploadId": "a/b c", "partNumber": "1"}) == (
        "http://127.0.0.1:8333/bucket/%C3%A4/~?uploadId=a%2Fb%20c&partNumber=1"
    )


@pytest.mark.parametrize("token", [None, "a-session-token"])
def test_a_request_carries_the_body_s_digest_and_the_token(token: str | None) -> None:
    client = _client(Credentials("AKIAEXAMPLE", "a secret", token), "http://h:1", by_path=True)
    digest = hashlib.sha256(b"body").hexdigest()
    url = client.url("bucket", "key", {})
    signed = SimpleNamespace(
        **{
            name.lower().replace("-", "_"): value
            for name, value in client._signed("PUT", url, {"range": "bytes=0-9"}, digest).items()
        }
    )
    assert signed.x_amz_content_sha256 == digest
    assert getattr(signed, "x_amz_security_token", None) == token
    assert "host;range;x-amz-content-sha256;x-amz-date" in signed.authorization
    assert signed.authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/")


def test_an_anonymous_request_is_not_signed() -> None:
    client = _client(None, "http://127.0.0.1:8333", by_path=True)
    assert client._signed("GET", "http://h/b/k", {}, EMPTY_SHA256) == {}


def test_an_unreachable_server_is_no_answer() -> None:
    client = _client(None, "http://127.0.0.1:9", by_path=True)
    assert client.send("GET", "bucket", "key") is None
