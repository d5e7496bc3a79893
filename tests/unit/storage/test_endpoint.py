"""Endpoints and proxies that cannot be right: exit code 2 by name, without what may be a secret."""

from __future__ import annotations

import pytest

from darkroom.errors import StorageAccessError
from darkroom.storage import check
from darkroom.storage.endpoint import check_endpoint, custom_endpoint, is_proxied

SECRET = "hunter2xx"  # noqa: S105 - nobody's


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        (f"http://127.0.0.1:9/?X={SECRET}", "has a query"),
        (f"http://127.0.0.1:9/#{SECRET}", "has a query or a fragment"),
        (f"http://me:{SECRET}@127.0.0.1:9", "carries credentials"),
        (f"ftp://me:{SECRET}@host", "carries credentials"),
        ("https://ex%20ample.com", "not an http:// or https:// URL; write https://host"),
        ("https://", "URL; write https://host"),
        ("ftp://host:9", "URL; write https://host:9"),
        ("host:9", "URL; write https://host:9"),
        ("http://host.example.org", "unencrypted"),
        ("http://127.0.0.1:99999", "is not a URL"),
    ],
)
def test_an_endpoint_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, says: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(StorageAccessError, match=says) as caught:
        custom_endpoint()
    assert caught.value.field == "AWS_ENDPOINT_URL_S3"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["[::1]:9", "minio", "minio_1:9000", "s3.darkroom.svc", "10.0.0.1"]
)
def test_an_endpoint_is_taken(host: str) -> None:
    check_endpoint("endpoint", f"http://{host}")
    check_endpoint("endpoint", f"https://{host}/")


@pytest.mark.parametrize(
    "proxy",
    [
        f"http://me:hun#{SECRET}@127.0.0.1:9",
        f"http://me:{SECRET}@127.0.0.1:9\n",
        f"http://me:{SECRET}@127.0.0.1:abc",
        f"http://me:{SECRET}@no such host",
        "http://",
    ],
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_a_proxy_that_is_none_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, proxy: str, name: str
) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example.org")
    with pytest.raises(StorageAccessError, match=r"^HTTPS_PROXY: is not a URL; ") as caught:
        is_proxied("https://s3.example.org")
    assert "hun" not in str(caught.value)
    assert not is_proxied("https://127.0.0.1:9")
    failed = check("s3://anonymous@bucket").failed
    assert [probe.name for probe in failed] == ["endpoint"]
    assert failed[0].detail == "HTTPS_PROXY: is not a URL"
