"""SeaweedFS as a program: where its binary is, which ports it needs, and that it dies with us.

`server.py` starts it and uses it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from contextlib import ExitStack
from pathlib import Path

from darkroom.errors import StorageAccessError

HOST = "127.0.0.1"
RELEASE_SECONDS = 3.0
_LOCK_NAME = "server.lock"

_PORT_FLAGS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
)
_WATCHDOG = 'read -r _; kill -KILL "$1" 2>/dev/null'


def weed_binary() -> Path:
    """SeaweedFS's own executable. Errors: StorageAccessError when it is not installed."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    found = beside if beside.is_file() else shutil.which("weed")
    if found is None:
        raise StorageAccessError(
            "server", None, "SeaweedFS is not installed", "`make setup` brings it"
        )
    return Path(found)


def free_ports(wanted: int) -> dict[str, int]:
    """A free port for each of SeaweedFS's listeners; `wanted` for S3 itself unless 0."""
    with ExitStack() as stack:
        ports = {}
        for flag in _PORT_FLAGS:
            listener = stack.enter_context(socket.socket())
            port = wanted if flag == "s3.port" else 0
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, port))
            except OSError as error:
                raise StorageAccessError(
                    "port", port, f"is not free ({error.strerror})", "choose another, or 0"
                ) from None
            ports[flag] = listener.getsockname()[1]
        return ports


def lock_folder(directory: Path) -> int | None:
    """A lock on the data, for SeaweedFS to inherit: two servers would ruin each other's.

    None where the file system has no locks. Errors: StorageAccessError naming the other server.
    """
    descriptor = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    # A server whose starter was just killed takes a moment to die.
    deadline = time.monotonic() + RELEASE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            who = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise StorageAccessError(
                "directory",
                str(directory),
                f"another server is serving it ({who or 'which is just starting'})",
                "use that one, stop it, or serve another folder",
            ) from None
        except OSError:
            os.close(descriptor)
            return None
        os.ftruncate(descriptor, 0)
        return descriptor


def sign_lock(descriptor: int, who: str) -> None:
    """Write into the lock whose it is."""
    os.pwrite(descriptor, who.encode(), 0)


def kill_with_us(pid: int) -> subprocess.Popen[bytes]:
    """A process that kills `pid` when the pipe to us breaks, which it does however we die."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "darkroom-watchdog", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
