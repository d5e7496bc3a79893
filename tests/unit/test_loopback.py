"""Which hosts are this machine, and how programs are told to reach it without a proxy."""

from __future__ import annotations

from urllib.request import proxy_bypass

import pytest

from darkroom.loopback import is_loopback, keep_off_proxies

HERE = "localhost,127.0.0.1,::1"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "x.localhost", "127.0.0.1", "127.1.2.3", "[::1]"],
)  # fmt: skip
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "10.0.0.1",
        "s3.amazonaws.com",
        "localhost.example.com",
        "127.0.0.1.nip.io",
    ],
)
def test_other_machines(host: str | None) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, HERE),
        ({"NO_PROXY": "corp.example"}, f"corp.example,{HERE}"),
        ({"no_proxy": ".corp, 10.0.0.1"}, f".corp,10.0.0.1,{HERE}"),
        ({"NO_PROXY": "127.0.0.1"}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "*"}, "*"),
        ({"NO_PROXY": ""}, HERE),
    ],
)
def test_both_spellings_say_the_same(given: dict[str, str], expected: str) -> None:
    environment = dict(given)
    keep_off_proxies(environment)
    assert environment == {"no_proxy": expected, "NO_PROXY": expected}
    keep_off_proxies(environment)
    assert environment["no_proxy"] == expected


def test_spellings_that_differ_stay_different() -> None:
    environment = {"no_proxy": "a", "NO_PROXY": "b"}
    keep_off_proxies(environment, "10.1.1.1")
    assert environment == {"no_proxy": f"a,{HERE},10.1.1.1", "NO_PROXY": f"b,{HERE},10.1.1.1"}


def test_python_understands_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    environment: dict[str, str] = {}
    keep_off_proxies(environment)
    monkeypatch.setenv("no_proxy", environment["no_proxy"])
    for host in ("localhost", "localhost:80", "127.0.0.1:8333"):
        assert proxy_bypass(host)
    assert not proxy_bypass("example.com")
