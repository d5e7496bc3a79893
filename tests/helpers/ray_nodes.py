"""A Ray of several nodes on this machine, each a `ray start --block` as a pod's is.

What befalls a pod befalls such a process: SIGTERM, which has Ray drain the node, or SIGKILL to all
of it. Only processes that were started here are signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
from tests.helpers.processes import command_of, free_port, kill_all

READY_SECONDS = 600
"""Ends a hang; a busy machine takes minutes to start Ray."""
ENDED_SECONDS = 120


class Node:
    """One `ray start --block` and all that it started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def runs(self, name: str) -> bool:
        """Whether a process of that name is on this node."""
        return any(name in " ".join(command_of(process)) for process in self._tree())

    def drain(self) -> None:
        """What a pod's preStop does: Ray drains the node and ends it."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Until it has ended. Errors: subprocess.TimeoutExpired."""
        self._process.wait(timeout=ENDED_SECONDS)

    def kill(self) -> None:
        """As a machine goes that loses its power."""
        tree = self._tree()
        kill_all(tree, seconds=ENDED_SECONDS)
        self._process.wait(timeout=ENDED_SECONDS)

    def _tree(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Nodes:
    """A head without room for work, and nodes that come and go."""

    def __init__(self, folder: Path, stack: ExitStack, drain_seconds: float) -> None:
        self._folder, self._stack = folder, stack
        self._environment = {
            **os.environ,
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": f"{drain_seconds:g}",
            # By default 30 s, which a busy machine exceeds.
            "RAY_raylet_start_wait_time_s": str(READY_SECONDS),
        }
        self._environment.pop("RAY_ADDRESS", None)
        self._port = free_port()
        self._number = 0
        self.address = f"127.0.0.1:{self._port}"
        self._start("--head", f"--port={self._port}", "--num-cpus=0", "--include-dashboard=false")
        _wait_for(self._port)

    def add(self, num_cpus: int) -> Node:
        """One more node, which joins while this returns."""
        return self._start(f"--address={self.address}", f"--num-cpus={num_cpus}")

    def _start(self, *options: str) -> Node:
        self._number += 1
        log = self._stack.enter_context((self._folder / f"node-{self._number}.log").open("wb"))
        ray = Path(sys.executable).with_name("ray")
        command = [str(ray), "start", "--block", "--disable-usage-stats", *options]
        node = Node(
            subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        )
        self._stack.callback(node.kill)
        return node


@contextlib.contextmanager
def ray_nodes(folder: Path, *, drain_seconds: float) -> Iterator[Nodes]:
    """A head; `add` starts nodes. All are killed at the end."""
    with ExitStack() as stack:
        yield Nodes(folder, stack, drain_seconds)


def _wait_for(port: int) -> None:
    end = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return
