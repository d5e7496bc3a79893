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
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import psutil
from benchmarks.interleaved import Ratio, Report, arguments, measure
from benchmarks.serve_overhead_child import PLAIN
from tests.helpers.tiny_artifacts import publish_model, tiny_unet

PYTHON, HAPROXY = "Serve's proxy", "HAProxy"
ENVIRONMENT = {PYTHON: {}, HAPROXY: {"RAY_SERVE_ENABLE_HA_PROXY": "1"}}
TARGET_SECONDS = 0.005
NUM_STEPS = 1
NUM_CLIENTS = 8
IDLE_SECONDS = 10


class Server:
    """Both applications behind one proxy."""

    def __init__(self, process: psutil.Process, address: str) -> None:
        self._process = process
        self._address = address
        self._idle_rate = 0.0
        self.processor: defaultdict[str, list[float]] = defaultdict(list)
        """Seconds a request, by arm, in their order."""

    def look_at_idle(self) -> None:
        """Learns what Ray takes by itself."""
        before = self._processor_seconds()
        time.sleep(IDLE_SECONDS)
        self._idle_rate = (self._processor_seconds() - before) / IDLE_SECONDS

    def arm(self, what: str, count: int, *, clients: int = 1) -> Callable[[], float]:
        """So many requests, shared by clients; seconds of one."""
        return lambda: self._run(what, count, clients)

    def _run(self, what: str, count: int, clients: int) -> float:
        before, began = self._processor_seconds(), time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda _: self._ask(what, count // clients), range(clients)))
        seconds = time.perf_counter() - began
        spent = self._processor_seconds() - before - self._idle_rate * seconds
        self.processor[f"{what}, {clients}"].append(spent / count)
        return seconds / count

    def _ask(self, what: str, count: int) -> None:
        place = PLAIN if what == "plain" else "/v1/images/generations"
        # "response_format" and the sampler: as the plain one answers and draws.
        body = {"prompt": "7", "steps": NUM_STEPS, "response_format": "b64_json"}
        with httpx2.Client(timeout=120) as client:
            for seed in range(count):
                wanted = {"prompt": "7", "seed": seed} if what == "plain" else body | {"seed": seed}
                answer = client.post(f"{self._address}{place}", json=wanted)
                if answer.status_code != 200:
                    raise RuntimeError(f"{what}: {answer.status_code}")
                assert answer.json()["data"][0]["b64_json"]

    def _processor_seconds(self) -> float:
        total = 0.0
        for process in [self._process, *self._process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


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
        for found in (server.processor["ours, 1"], server.processor["plain, 1"])
    )  # the first was to warm up
    return Ratio.of([(a - b) / TARGET_SECONDS for a, b in zip(ours, plain, strict=True)])


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
            for what in ("plain", "ours"):
                arms[f"{what}, {name}"] = one.arm(what, count)
            arms[f"crowd, {name}"] = one.arm("ours", count, clients=NUM_CLIENTS)
        timings = measure(arms, num_rounds=options.rounds)
        for name, one in servers.items():
            report.add(
                f"serve_overhead: processor time beyond Serve's / 5 ms, {name}", beyond(one),
                at_most=None if options.quick or name != PYTHON else 1.0,
            )  # fmt: skip
            report.details[f"processor seconds a request, {name}"] = one.processor
    for what, said in (("ours", "one client"), ("plain", "plain, one client"), ("crowd", "eight")):
        ratio = timings.ratio(f"{what}, {PYTHON}", f"{what}, {HAPROXY}")
        report.add(f"serve_overhead: seconds, {PYTHON} / {HAPROXY}, {said}", ratio)
    report.details["seconds a request"] = timings.seconds
    report.write()


if __name__ == "__main__":
    main()
