"""What a request to `darkroom serve` costs beyond Ray Serve's own cost, and what HAProxy gains.

    python -m benchmarks.serve_overhead [--rounds 7] [--quick]

Two services stand side by side, one behind Ray Serve's own proxy and one behind HAProxy
(RAY_SERVE_ENABLE_HA_PROXY); either has `darkroom serve` and a plain Serve application of the same
shape over the same model (`serve_overhead_child.py`). One client asks for one picture of one step
after the other, over one connection.

    (processor time of a request to ours - to the plain one) / 5 ms      at most 1
    the same behind HAProxy
    seconds of a request behind Ray Serve's proxy / behind HAProxy       one client; eight

The processor time is that of all of the service's processes, less what they take when nobody asks;
the client's is not in it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from benchmarks.interleaved import Ratio, Report, Timings, after_each_round, arguments
from benchmarks.serve_clients import Clients
from benchmarks.serve_overhead_child import PLAIN
from tests.helpers.tiny_artifacts import publish_model, tiny_unet

OURS, PLAIN_ONE, CROWD = "ours", "plain", "crowd"
PYTHON, HAPROXY = "Serve's proxy", "HAProxy"
ENVIRONMENT = {PYTHON: {}, HAPROXY: {"RAY_SERVE_ENABLE_HA_PROXY": "1"}}
TARGET_SECONDS = 0.005
NUM_STEPS = 1
NUM_CLIENTS = 8
IDLE_SECONDS = 10


class Server:
    """Both applications behind one proxy."""

    def __init__(self, process: psutil.Process, address: str) -> None:
        self._clients = {
            OURS: Clients(address, process), PLAIN_ONE: Clients(address, process, PLAIN)
        }  # fmt: skip
        self._idle_rate = 0.0
        self.processor: defaultdict[str, list[float]] = defaultdict(list)
        """Of one client's requests: seconds each, by application, in their order."""

    def look_at_idle(self) -> None:
        """Learns what Ray takes by itself."""
        seen = self._clients[OURS].idle(IDLE_SECONDS)
        self._idle_rate = seen.processor_seconds["service"] / seen.seconds

    def arm(self, what: str, count: int, *, num_clients: int = 1) -> Callable[[], float]:
        """So many requests, shared by clients; seconds of one."""
        bodies = [{"prompt": "7", "seed": seed, "steps": NUM_STEPS} for seed in range(count)]
        return lambda: self._run(what, bodies, num_clients)

    def _run(self, what: str, bodies: list[dict[str, Any]], num_clients: int) -> float:
        seen = self._clients[what].at_once(bodies, num_clients=num_clients)
        if num_clients == 1:
            spent = seen.processor_seconds["service"] - self._idle_rate * seen.seconds
            self.processor[what].append(spent / len(bodies))
        return seen.seconds / len(bodies)


@contextmanager
def server(place: Path, environment: dict[str, str]) -> Iterator[Server]:
    """Started, and ended."""
    command = [sys.executable, "-m", "benchmarks.serve_overhead_child", str(place), str(NUM_STEPS)]
    with subprocess.Popen(
        command, env={**os.environ, **environment}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            lines = iter(process.stdout.readline, "")
            address = next((line.strip() for line in lines if line.startswith("http://")), "")
            if not address:
                raise RuntimeError(f"the service did not come up: {process.wait()}")
            yield Server(psutil.Process(process.pid), address)
        finally:
            process.stdin.close()
            process.wait(timeout=120)


def beyond(server: Server) -> Ratio:
    """Processor seconds of ours beyond the plain one's, of TARGET_SECONDS, by rounds."""
    ours, plain = (
        [statistics.fmean(turns) for turns in zip(found[1::2], found[2::2], strict=True)]
        for found in (server.processor[OURS], server.processor[PLAIN_ONE])
    )  # the first was to warm up
    return Ratio.of([(a - b) / TARGET_SECONDS for a, b in zip(ours, plain, strict=True)])


def tell(report: Report, timings: Timings, servers: Mapping[str, Server], *, quick: bool) -> None:
    """Rows of what was seen by now."""
    report.details["seconds a request"] = timings.seconds
    for name, one in servers.items():
        report.details[f"processor seconds a request, {name}"] = one.processor
        report.add(
            f"serve_overhead: processor time beyond Serve's / 5 ms, {name}", beyond(one),
            at_most=None if quick or name != PYTHON else 1.0,
        )  # fmt: skip
    for what, said in ((OURS, "one client"), (PLAIN_ONE, "plain, one client"), (CROWD, "eight")):
        ratio = timings.ratio(f"{what}, {PYTHON}", f"{what}, {HAPROXY}")
        report.add(f"serve_overhead: seconds, {PYTHON} / {HAPROXY}, {said}", ratio)


def main() -> None:
    options = arguments(__doc__).parse_args()
    count = 16 if options.quick else 200
    report = Report("serve_overhead")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, ExitStack() as stack:
        place = Path(folder) / "digits"
        publish_model(place, tiny_unet())
        servers = {
            name: stack.enter_context(server(place, environment))
            for name, environment in ENVIRONMENT.items()
        }
        arms = {}
        for name, one in servers.items():
            one.look_at_idle()
            for what in (PLAIN_ONE, OURS):
                arms[f"{what}, {name}"] = one.arm(what, count)
            arms[f"{CROWD}, {name}"] = one.arm(OURS, count, num_clients=NUM_CLIENTS)
        for timings in after_each_round(arms, num_rounds=options.rounds):
            tell(report, timings, servers, quick=options.quick)


if __name__ == "__main__":
    main()
