"""What one piece of work took: time, the driver's memory, requests to S3, bytes.

Requests are counted by the server itself (SeaweedFS's own metrics), so those of worker processes
are among them.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from tests.helpers.processes import free_port

from darkroom.storage import EmbeddedServer
from darkroom.storage.seaweed import HOST

BUCKET = "benchmark"
MB = 1e6
_COUNTER = re.compile(
    r"^SeaweedFS_s3_(request_total|bucket_traffic_[a-z_]+)\{(.*)\} (\S+)$", flags=re.MULTILINE
)
_TYPE = re.compile(r'type="(\w+)"')


class CountingServer(EmbeddedServer):
    """The embedded server, which also tells how often it was asked for what."""

    def _flags(self) -> list[str]:
        self._metrics_port = free_port()
        own = [f"-metricsPort={self._metrics_port}", f"-metricsIp={HOST}"]
        return [*super()._flags(), *own]

    def counts(self) -> dict[str, float]:
        """Requests by method, and bytes received and sent, since the start."""
        with urllib.request.urlopen(f"http://{HOST}:{self._metrics_port}/metrics") as reply:
            text = reply.read().decode()
        counts: dict[str, float] = {}
        for name, labels, value in _COUNTER.findall(text):
            method = _TYPE.search(labels)
            what = method[1] if method else name.split("_")[2]
            counts[what] = counts.get(what, 0.0) + float(value)
        return counts


@contextmanager
def counting_server() -> Iterator[CountingServer]:
    """A new server on an empty folder, named by the environment."""
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-s3-") as folder,
        CountingServer(folder, bucket=BUCKET) as server,
    ):
        os.environ.update(server.environment)
        yield server


@contextmanager
def metered(
    subject: str, num_items: int, *, server: CountingServer | None = None
) -> Iterator[dict[str, Any]]:
    """Print what the block took as one line of JSON, at its end; the block may add to it."""
    row: dict[str, Any] = {"subject": subject, "n": num_items}
    before = server.counts() if server else {}
    held = _restarted_peak()
    started, used = time.perf_counter(), time.process_time()
    yield row
    row.setdefault("seconds", time.perf_counter() - started)
    row["driver_processor_seconds"] = time.process_time() - used
    row["driver_mb"] = (_memory("VmHWM") - held) / MB
    if server:
        after = server.counts()
        row["s3"] = {name: after[name] - before.get(name, 0.0) for name in sorted(after)}
    if raylets := _shared_of_raylets():
        row["ray_store_mb"] = raylets / MB
    print(json.dumps(row), flush=True)


def _restarted_peak() -> int:
    """What is held now; the peak begins anew (Linux: 5 stands for it)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    """Bytes of this process, as the kernel has them."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def _shared_of_raylets() -> int:
    """Pages of Ray's object store that were ever written: a local Ray's, in this process's care."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_info().shared for child in children if child.name() == "raylet")
