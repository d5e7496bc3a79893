"""How long each test file takes: taken down in every run, recorded in `tests/seconds.json`.

`make test ARGS=--record-seconds`, and the same of `make test-runs`, write the record anew. Only its
proportions matter: it decides which files begin first (`longest_first.py`).
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

RECORD = Path(__file__).parents[1] / "seconds.json"
GIB_PER_PROCESS = 3
"""One process with its Ray, its workers and its S3 server."""


def file_of(nodeid: str) -> str:
    """The file of a test."""
    return nodeid.split("::", 1)[0]


def recorded_seconds() -> dict[str, float]:
    """Seconds by test file, as last recorded."""
    seconds: dict[str, float] = json.loads(RECORD.read_text())
    return seconds


def num_processes() -> int:
    """For `-n auto`: half as many again as there are cores, since they mostly wait."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    held: int = psutil.virtual_memory().available // (GIB_PER_PROCESS * 2**30)
    return max(1, min((3 * (cores or 1) + 1) // 2, held))


class FileClock:
    """Adds up what every file takes, and records it when asked to."""

    def __init__(self) -> None:
        self._taken: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Set-up, call and teardown are reported one by one."""
        self._taken[file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Files that were not run keep their record; all do when a test failed or was left out."""
        config = session.config
        whole = exitstatus == 0 and not config.option.keyword and not config.option.markexpr
        if hasattr(config, "workerinput") or not config.option.record_seconds or not whole:
            return
        root = config.rootpath
        known = {name: s for name, s in recorded_seconds().items() if (root / name).exists()}
        known |= {name: round(seconds, 1) for name, seconds in self._taken.items()}
        RECORD.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
