"""The embedded server: keeps its data, makes no bucket by itself, never outlives its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import darkroom
from darkroom.errors import StorageAccessError
from darkroom.storage import EmbeddedServer, open_store

DEADLINE_SECONDS = 120


def _is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while _is_alive(pid):
        assert time.monotonic() < deadline, "the server outlives its parent"
        time.sleep(0.05)


@pytest.fixture
def no_server_in_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_data_survives_a_restart_on_other_ports(
    tmp_path: Path, no_server_in_environment: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a,b #1; \u00e9 "  # to SeaweedFS a comma separates folders
    environments = []
    data = os.urandom(100_000)
    for number in range(2):
        with EmbeddedServer(folder, bucket="kept") as server:
            environments.append(server.environment)
            for name, value in server.environment.items():
                no_server_in_environment.setenv(name, value)
            store = open_store("s3://kept/prefix")
            if number == 0:
                etag = store.put("large", data)
                store.put("pointer", b"1")
            else:
                assert store.get_with_etag("large") == (data, etag)
                store.put("pointer", b"2", if_match=store.get_with_etag("pointer")[1])
            pid = server.pid
        assert not _is_alive(pid)
    first, second = environments
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert first[name] != second[name]
    log = (folder / "server.log").read_text()
    assert second["AWS_SECRET_ACCESS_KEY"] not in log
    identities = folder / "identities.json"
    assert identities.stat().st_mode & 0o077 == 0
    # SIGKILL leaves SeaweedFS's sockets behind; we take them away.
    port = second["AWS_ENDPOINT_URL_S3"].rpartition(":")[2]
    assert list(Path("/tmp").glob(f"seaweedfs-*{port}*")) == []  # noqa: S108


PARENT = """
import sys, time
from darkroom.storage import EmbeddedServer
server = EmbeddedServer(sys.argv[1])
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(darkroom.__file__).parents[1])},
        text=True,
    )
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        # SeaweedFS's own process, not a wrapper's.
        assert Path(f"/proc/{pid}/exe").resolve().name == "weed"
        assert _is_alive(pid)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    _wait_until_dead(pid)


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StorageAccessError, match=f"got {port}, is not free"):
            EmbeddedServer(tmp_path, port=port).start()


def test_buckets_are_made_on_purpose_and_twice_is_once(s3: EmbeddedServer) -> None:
    s3.create_bucket("made-on-purpose")
    open_store("s3://made-on-purpose").put("a", b"1")
    s3.create_bucket("made-on-purpose")
    assert open_store("s3://made-on-purpose").get("a") == b"1"


def test_it_listens_on_loopback_only(s3: EmbeddedServer) -> None:
    inodes = set()
    for fd in Path(f"/proc/{s3.pid}/fd").iterdir():
        try:
            target = str(fd.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    listening = [
        fields[1].split(":")[0]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and fields[9] in inodes
    ]
    assert listening
    assert set(listening) == {"0100007F"}  # 127.0.0.1
