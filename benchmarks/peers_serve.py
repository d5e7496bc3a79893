"""`darkroom serve` beside other ways to put a diffusers pipeline behind HTTP.

    python -m benchmarks.peers_serve [--rounds 5] [--quick]

The peers: FastAPI with a lock around the pipeline; Ray Serve's `@serve.batch`; LitServe. Every
service is a command of its own with one copy of the same tiny Stable Diffusion, a thread for it on
every core but one, and the same requests: a prompt, a seed, equal steps, sampler, guidance and
size, answered with a PNG in JSON. (The last core is for HTTP and the clients: threads of a network
that wait for each other on a core that others take burn many times their work.) Batches of the two
that make batches may hold as many as there are clients. In each turn a service is started, warmed,
measured and stopped, so that none idles beside another; its start is in no time.

Saturated: so many clients that each ask again as soon as they are answered; the ratio is of times
for the same pictures, that is of images a second the other way round. Under load: requests at
random times (Poisson, the same for every service), at LOAD of what the lock draws in its first
saturated turn; the ratio is of mean latencies. Always the peer's time over ours: above 1, ours is
faster. The details have the processor seconds of the services and of the clients, which share the
cores with them.

What the peers leave out: requests of other steps, sizes and samplers in one batch, joining a batch
that is being drawn, pictures that do not depend on their batch, OpenAI's fields and errors,
previews, limits, deadlines, cancelling what nobody waits for, keys, XMP, digests of the weights,
jobs, draining.
"""

from __future__ import annotations

import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from benchmarks import peers
from benchmarks.interleaved import Report, Timings, after_each_round, arguments
from benchmarks.s5cmd import ROOT
from benchmarks.serve_clients import Clients, Seen, latency_ratio
from tests.helpers.served import served
from tests.helpers.tiny_text_to_image import save_tiny_stable_diffusion

OURS, LOCK, BATCH, LITSERVE = "serve", "a locked FastAPI", "@serve.batch", "LitServe"
PROGRAMS = {LOCK: "serve_fastapi", BATCH: "serve_batch", LITSERVE: "serve_litserve"}
SIDE, NUM_STEPS, GUIDANCE = 32, 10, 5.0
NUM_CLIENTS, LOAD = 16, 0.7
STOP_SECONDS = 120
NUM_THREADS = max(1, (os.cpu_count() or 1) - 1)


def bodies(count: int) -> list[dict[str, Any]]:
    """Different requests that want as much work."""
    return [
        {
            "prompt": f"a red fox number {at}", "seed": at, "steps": NUM_STEPS,
            "guidance_scale": GUIDANCE, "size": f"{SIDE}x{SIDE}",
        }
        for at in range(count)
    ]  # fmt: skip


class Comparison:
    """The services over one model; what each turn saw is kept."""

    def __init__(self, model: Path, *, saturated: int, loaded: int) -> None:
        self._model = model
        self._saturated, self._loaded = bodies(saturated), bodies(loaded)
        self._gap_seconds = 0.0
        self._seen_saturated: defaultdict[str, list[Seen]] = defaultdict(list)
        self._seen_loaded: defaultdict[str, list[Seen]] = defaultdict(list)

    def turn(self, name: str) -> float:
        """One service from its start to its end; the seconds of the saturated part."""
        with self._service(name) as clients:
            clients.wait(self._saturated[0])
            clients.at_once(self._saturated[:NUM_CLIENTS], num_clients=NUM_CLIENTS)
            seen = clients.at_once(self._saturated, num_clients=NUM_CLIENTS)
            self._seen_saturated[name].append(seen)
            if not self._gap_seconds:  # the lock's turn is the first
                self._gap_seconds = seen.seconds / len(self._saturated) / LOAD
            chance = random.Random(len(self._seen_loaded[name]))
            self._seen_loaded[name].append(
                clients.at_random(self._loaded, gap_seconds=self._gap_seconds, chance=chance)
            )
        return seen.seconds

    def tell(self, report: Report, timings: Timings) -> None:
        """Two rows for each peer, and what explains them."""
        count = len(self._saturated)
        report.details = {
            "clients": NUM_CLIENTS,
            "requests": {"saturated": count, "under load": len(self._loaded)},
            "seconds between requests": self._gap_seconds, "seconds": timings.seconds,
            "images_per_second": {
                way: [count / each for each in seconds] for way, seconds in timings.seconds.items()
            },
            "mean_latency_seconds": {
                way: [statistics.fmean(seen.latencies) for seen in turns]
                for way, turns in self._seen_loaded.items()
            },
            "processor_seconds": {
                way: {
                    "saturated": processor_seconds(self._seen_saturated[way]),
                    "under load": processor_seconds(self._seen_loaded[way]),
                }
                for way in timings.seconds
            },
        }  # fmt: skip
        for way in PROGRAMS:
            report.add(f"{way}'s time / ours: serve, saturated", timings.ratio(way, OURS))
            latency = latency_ratio(self._seen_loaded[way], self._seen_loaded[OURS])
            report.add(f"{way}'s mean latency / ours: serve, load {LOAD}", latency)

    @contextmanager
    def _service(self, name: str) -> Iterator[Clients]:
        if name == OURS:
            flags = ("--set", f"workers.num_cpus={NUM_THREADS}")
            with (
                served(str(self._model), *flags) as service,
                Clients(service.address, service.process) as clients,
            ):
                yield clients
        else:
            with peer_service(name, self._model) as clients:
                yield clients


@contextmanager
def peer_service(name: str, model: Path) -> Iterator[Clients]:
    """A peer's program, ended by SIGTERM."""
    # LitServe alone is not among our own packages; the others run on the very ones that we do.
    python = peers.python_of(peers.PEERS) if name == LITSERVE else Path(sys.executable)
    port = _free_port()
    command = [
        str(python), "-m", f"benchmarks.peer_programs.{PROGRAMS[name]}", str(model), str(port),
        str(NUM_THREADS), str(NUM_CLIENTS),
    ]  # fmt: skip
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"
    }  # fmt: skip
    with ExitStack() as stack:
        folder = stack.enter_context(
            # Ray wants it short, and may still write when it has ended.
            tempfile.TemporaryDirectory(prefix="peer-", dir="/tmp", ignore_cleanup_errors=True)
        )
        said = Path(folder, "said")
        out = stack.enter_context(said.open("wb"))
        environment["RAY_TMPDIR"] = folder
        process = stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment)
        )
        there = psutil.Process(process.pid)
        try:
            with Clients(f"http://127.0.0.1:{port}", there) as clients:
                yield clients
        except RuntimeError as error:
            raise RuntimeError(f"{name}: {error}\n{said.read_text()[-4000:]}") from error
        finally:
            below = there.children(recursive=True)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            _, left = psutil.wait_procs(below, timeout=10)
            for each in left:
                each.kill()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def processor_seconds(turns: list[Seen]) -> dict[str, float]:
    """Of a turn, in the middle."""
    return {
        side: statistics.median(seen.processor_seconds[side] for seen in turns)
        for side in ("service", "client")
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=5)
    given = parser.parse_args()
    saturated, loaded = (16, 8) if given.quick else (96, 48)
    peers.build()
    report = Report("peers_serve")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        model = save_tiny_stable_diffusion(Path(name, "model"))
        comparison = Comparison(model, saturated=saturated, loaded=loaded)
        arms = {way: partial(comparison.turn, way) for way in (LOCK, BATCH, LITSERVE, OURS)}
        for timings in after_each_round(arms, num_rounds=given.rounds, num_warmups=0):
            comparison.tell(report, timings)


if __name__ == "__main__":
    main()
