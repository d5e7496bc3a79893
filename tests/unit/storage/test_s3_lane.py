"""The short way's signature equals botocore's for the same request."""

from __future__ import annotations

import datetime as dt
import string
from typing import Any
from urllib.parse import quote

import certifi
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from darkroom.storage.s3_lane import EMPTY_SHA256, Lane

NOW = dt.datetime(2026, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
REGION = "eu-central-1"


class _FrozenTime(dt.datetime):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _FrozenTime:
        return cls.fromtimestamp(NOW.timestamp(), tz)

    @classmethod
    def utcnow(cls) -> _FrozenTime:
        return cls.fromtimestamp(NOW.timestamp(), dt.UTC).replace(tzinfo=None)


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.storage.s3_lane.datetime", _FrozenTime)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda **_: NOW.replace(tzinfo=None))


def _lane(credentials: Any, endpoint: str, *, by_path: bool) -> Lane:
    return Lane(
        endpoint,
        region=REGION,
        credentials=credentials,
        authorities=certifi.where(),
        by_path=by_path,
        connect_timeout_seconds=1,
        read_timeout_seconds=1,
    )


KEYS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20).filter(
    lambda key: not key.startswith("/") and "//" not in key
)
QUERIES = st.dictionaries(
    st.text(string.ascii_letters, min_size=1, max_size=8), st.text(max_size=8), max_size=3
)


@pytest.mark.parametrize("token", [None, "a-session-token"])
@given(key=KEYS, query=QUERIES, wanted=st.sampled_from([{}, {"range": "bytes=0-9"}]))
def test_the_signature_is_botocores(
    token: str | None, key: str, query: dict[str, str], wanted: dict[str, str]
) -> None:
    credentials = Credentials("AKIAEXAMPLE", "a secret", token)
    lane = _lane(credentials, "http://127.0.0.1:8333", by_path=True)
    host, path = lane._address("bucket", key)
    search = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(query.items())
    )
    ours = lane._sign("GET", host, path, search, headers=dict(wanted), body_sha256=EMPTY_SHA256)

    request = AWSRequest("GET", f"http://{host}{path}", headers=dict(wanted), params=query)
    request.headers["x-amz-content-sha256"] = EMPTY_SHA256
    S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
    theirs = request.headers["Authorization"]
    assert ours["authorization"].replace(" ", "") == theirs.replace(" ", "")


def test_addresses() -> None:
    by_name = _lane(None, "https://s3.eu-central-1.amazonaws.com", by_path=False)
    assert by_name._address("bucket", "a b") == (
        "bucket.s3.eu-central-1.amazonaws.com",
        "/a%20b",
    )
    assert by_name._address("dotted.bucket", "a") == (
        "s3.eu-central-1.amazonaws.com",
        "/dotted.bucket/a",
    )


def test_an_anonymous_request_is_not_signed() -> None:
    lane = _lane(None, "http://127.0.0.1:8333", by_path=True)
    assert lane._sign("GET", "h", "/b/k", "", headers={}, body_sha256=EMPTY_SHA256) == {}


def test_an_unreachable_server_is_no_answer() -> None:
    lane = _lane(None, "http://127.0.0.1:9", by_path=True)
    assert lane.send("GET", "bucket", "key") is None
