"""Which processes of a running command take the cores: what explains a slow step.

Counts processor seconds of the command's whole process tree from the line of its log that says
that the work has begun until it is done, by what the processes are called, and divides them by
the time that passed. Looks once a second; what a process used after its last look is lost.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePath

import psutil
from tests.helpers.training import Run, wait_until

LOOK_EVERY_SECONDS = 1.0


def cpu_split(run: Run, line: str, done: Callable[[], bool]) -> dict[str, float]:
    """Cores by process name, the busiest first, from `line` in the log until `done`."""
    wait_until(lambda: True if line in run.log.read_text() else None, line, run)
    begun = time.monotonic()
    first = _looks(run)
    last = dict(first)
    while run.process.poll() is None and not done():
        time.sleep(LOOK_EVERY_SECONDS)
        last |= _looks(run)
    passed = time.monotonic() - begun
    used: defaultdict[str, float] = defaultdict(float)
    for pid, (name, seconds) in last.items():
        before = first[pid][1] if pid in first else 0.0
        used[name] += (seconds - before) / passed
    ranked = sorted(used.items(), key=lambda item: -item[1])
    return {name: round(cores, 3) for name, cores in ranked if cores >= 0.0005}


def _looks(run: Run) -> dict[int, tuple[str, float]]:
    """Name and processor seconds so far, by pid."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in run.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found[process.pid] = role(process.cmdline()), times.user + times.system
    return found


def role(command: Sequence[str]) -> str:
    """What a process is, by its command line."""
    words = " ".join(command)
    if match := re.match(r"ray::([\w.]+)", words):
        return f"ray::{match[1]}"
    if match := re.search(r"(\w+)\.py\b", words):
        return match[1]
    if match := re.search(r"-m (\w+)", words):
        return match[1]
    return PurePath(command[0]).name if command else "?"
