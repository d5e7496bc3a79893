"""Processes that tests start, and ports for them. Only what was started is ever signalled."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence

import psutil


def command_of(process: psutil.Process) -> list[str]:
    """Its command; nothing when it has gone."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def kill_all(processes: Sequence[psutil.Process], *, seconds: float) -> None:
    """SIGKILL to all at once, and their end awaited for so long."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=seconds)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port of the loopback address that refuses everyone: bound, so that nobody else takes it."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield int(closed.getsockname()[1])
