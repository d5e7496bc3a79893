"""What the storage benchmarks share: fresh servers, files of random bytes, and who used the CPU.

Every round gets a server of its own on an empty folder, and warms it up: SeaweedFS frees deleted
space only now and then, so many rounds on one server would fill the disk, and its first writes
make its volumes.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from benchmarks.interleaved import Arm, Timings, measure

from darkroom.storage import EmbeddedServer

BUCKET = "benchmark"
WRITE_BYTES = 1 << 20


def random_files(folder: Path, *, count: int, size: int) -> Path:
    """`count` files of `size` random bytes each."""
    folder.mkdir(parents=True)
    source = random.Random(0)
    for index in range(count):
        with (folder / f"{index:05d}.bin").open("wb") as file:
            for start in range(0, size, WRITE_BYTES):
                file.write(source.randbytes(min(WRITE_BYTES, size - start)))
    return folder


def fresh_folder(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@dataclass
class CpuSeconds:
    """Processor seconds of each arm's turns: this process, its children, the server."""

    server: psutil.Process | None = None
    turns: defaultdict[str, list[dict[str, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def counting(self, name: str, work: Callable[[], object]) -> Arm:
        """An arm that times `work` and notes what it took of the processors."""

        def arm() -> float:
            before, begun = self._now(), time.perf_counter()
            work()
            seconds, after = time.perf_counter() - begun, self._now()
            turn = {key: after[key] - before[key] for key in after}
            self.turns[name].append({"wall": seconds, **turn})
            return seconds

        return arm

    def medians(self) -> dict[str, dict[str, float]]:
        """By arm; warm-ups are in it."""
        return {
            name: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}
            for name, turns in self.turns.items()
        }

    def _now(self) -> dict[str, float]:
        assert self.server is not None
        own = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        server = self.server.cpu_times()
        return {
            "own_cpu": own.ru_utime + own.ru_stime,
            "child_cpu": children.ru_utime + children.ru_stime,
            "server_cpu": server.user + server.system,
        }


@contextmanager
def fresh_server(cpu: CpuSeconds) -> Iterator[None]:
    """A new server on an empty folder, named by the environment, its CPU time counted."""
    with (
        tempfile.TemporaryDirectory(prefix="darkroom-bench-s3-") as folder,
        EmbeddedServer(folder, bucket=BUCKET) as server,
    ):
        os.environ.update(server.environment)
        cpu.server = psutil.Process(server.pid)
        yield


def on_fresh_servers(
    comparisons: Mapping[str, Mapping[str, Arm]], cpu: CpuSeconds, *, num_rounds: int
) -> Iterator[dict[str, Timings]]:
    """Each comparison's rounds so far, each time that one has ended on a server of its own."""
    rounds: defaultdict[str, list[Timings]] = defaultdict(list)
    for _ in range(num_rounds):
        with fresh_server(cpu):
            for name, arms in comparisons.items():
                rounds[name].append(measure(arms, num_rounds=1))
        yield {name: Timings.joined(parts) for name, parts in rounds.items()}
