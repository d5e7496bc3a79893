# ruff: noqa: INP001
"""Before a pod ends: has `ray start --block` drain its node, and waits until it has.

Bash is the first process of Ray's pods and passes no signal on; `ray stop` would end the replicas
with their requests.
"""

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path


def running() -> Iterator[int]:
    """Process ids of `ray start`."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(one.endswith(b"/ray") and two == b"start" for one, two in pairwise(words)):
            yield int(folder.name)


draining = set(running())
for process in draining:
    os.kill(process, signal.SIGTERM)
while draining & set(running()):
    time.sleep(0.2)
