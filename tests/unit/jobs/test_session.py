"""The session's own decisions; Ray itself is started by the integration tests."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.helpers.processes import refusing_port

from darkroom.errors import ConfigError
from darkroom.jobs import session


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def with_free(monkeypatch: pytest.MonkeyPatch, num_bytes: int) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(num_bytes, 0, num_bytes))


def test_object_store_is_modest_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_free(monkeypatch, 10 * 2**30)
    assert session.local_object_store_bytes(tmp_path) == 512 * 2**20


def test_object_store_shrinks_to_what_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_free(monkeypatch, 200 * 2**20)
    assert session.local_object_store_bytes(tmp_path) == 180 * 2**20


def test_too_little_shared_memory_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_free(monkeypatch, 64 * 2**20)  # Docker's default
    with pytest.raises(ConfigError, match=r"has only 64 MiB free.*--shm-size=1g") as caught:
        session.local_object_store_bytes(tmp_path)
    assert caught.value.field == str(tmp_path)


def test_missing_shared_memory_is_named(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux keeps Ray's objects in /dev/shm")
    with pytest.raises(ConfigError, match=r"absent: is missing or not writable.*mount"):
        session.local_object_store_bytes(tmp_path / "absent")


def test_local_token_is_made_once_and_a_given_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # so that monkeypatch restores what is set below
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    session._set_local_auth()
    made = os.environ["RAY_AUTH_TOKEN"]
    assert len(made) == 64
    session._set_local_auth()
    assert os.environ["RAY_AUTH_TOKEN"] == made


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN_PATH", "a/token")]
)
def test_the_users_own_way_of_authentication_stays(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    session._set_local_auth()
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_cluster_that_does_not_answer_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with refusing_port() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{port}")
        with (
            pytest.raises(ConfigError, match=r"RAY_ADDRESS.*refused.*unset it"),
            session.ray_session(),
        ):
            raise AssertionError("there is no cluster")
