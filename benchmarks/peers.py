"""The peers that Darkroom is measured beside: environments of their own, and programs in them.

Their packages are locked in requirements/peers.txt and lie in .cache/peers, never in the project's
own environment; what agrees with no other has a lock of its own. A program of
`benchmarks/peer_programs/` is started once and asked by lines of JSON, so that its imports count in
no time. It knows the S3 server by its environment: where that is another one by now, it is started
anew.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from benchmarks.interleaved import Arm, Report, after_each_round
from benchmarks.s5cmd import ROOT

PEERS, IMG2DATASET = "peers", "peers-img2dataset"
"""Names of locks, and of environments."""


def python_of(name: str) -> Path:
    """The interpreter of an environment."""
    return ROOT / ".cache" / name / "bin" / "python"


def build(name: str = PEERS) -> None:
    """Make the environment unless it is current; some minutes the first time."""
    lock, folder = ROOT / "requirements" / f"{name}.txt", ROOT / ".cache" / name
    stamp = folder / ".installed"
    if stamp.is_file() and stamp.read_text() == lock.read_text():
        return
    uv = [str(Path(sys.executable).with_name("uv"))]
    # A mirror that is set for pip is meant for uv, too, which does not look there.
    known = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    mirror = os.environ.get("PIP_INDEX_URL", known)
    environment = {**({"UV_DEFAULT_INDEX": mirror} if mirror else {}), **os.environ}
    subprocess.run([*uv, "venv", "--quiet", "--clear", str(folder)], check=True)
    subprocess.run(
        # Compiled: new processes would else read all of their packages' source, each time.
        [*uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", str(python_of(name)),
         "--require-hashes", str(lock)],
        check=True, env=environment,
    )  # fmt: skip
    stamp.write_text(lock.read_text())


class Peer:
    """A running program."""

    def __init__(self, program: str, *, python: Path | None = None) -> None:
        self._program, self._python = program, python or python_of(PEERS)
        self._process: subprocess.Popen[str] | None = None
        self._server: str | None = None
        self.processor_seconds: defaultdict[str, list[float]] = defaultdict(list)
        """Of each time that it was asked, by what it was asked for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(self, work: str, **arguments: Any) -> dict[str, Any]:
        """Its answer. Errors: RuntimeError when it ended instead."""
        server = os.environ.get("AWS_ENDPOINT_URL_S3")
        if self._process is None or server != self._server:
            self._stop()
            self._start()
            self._server = server
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"work": work, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._program} ended (exit {self._process.wait()})")
        found: dict[str, Any] = json.loads(line)
        self.processor_seconds[work].append(found["processor_seconds"])
        return found

    def seconds(self, work: str, **arguments: Any) -> float:
        """How long it took, by its own clock."""
        return float(self.ask(work, **arguments)["seconds"])

    def _start(self) -> None:
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT),
            "NO_ALBUMENTATIONS_UPDATE": "1",  # img2dataset's, which would ask the network
        }  # fmt: skip
        self._process = subprocess.Popen(
            [str(self._python), "-m", f"benchmarks.peer_programs.{self._program}"],
            cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def _stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class Tally:
    """Processor seconds of each way over all rows; work on fewer, for start-up, is left out."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._used: defaultdict[str, list[float]] = defaultdict(list)

    def here(self, name: str, work: Callable[[int], None]) -> Callable[[int], None]:
        """The same work, which this process and those below it do on so many rows, counted."""

        def counted(count: int) -> None:
            before = processor_seconds_here()
            work(count)
            self._add(name, count, processor_seconds_here() - before)

        return counted

    def asked(self, name: str, count: int, found: Mapping[str, Any]) -> float:
        """Take a peer's answer on so many rows; its seconds by its own clock."""
        assert found["rows"] == count, found
        self._add(name, count, found["processor_seconds"])
        return float(found["seconds"])

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(each) for name, each in self._used.items()}

    def _add(self, name: str, count: int, seconds: float) -> None:
        if count == self._count:
            self._used[name].append(seconds)


Works = Mapping[str, Callable[[int], float | None]]
"""Each way's work on a number of rows, ours first; seconds as of `interleaved.Arm`."""


def arms_of(works: Works, *, count: int, few: int) -> dict[str, Arm]:
    """Each way on all rows, and on few of them, which is its start-up."""
    every: dict[str, Arm] = {name: partial(work, count) for name, work in works.items()}
    return every | {_start_up(name): partial(work, few) for name, work in works.items()}


def _start_up(name: str) -> str:
    return f"{name}, start-up"


def compare(
    report: Report, what: str, works: Works, tally: Tally, *, count: int, few: int, num_rounds: int
) -> None:
    """After each round, two rows for each peer: its time over ours, start-up off and left in."""
    ours, *names = works
    arms = arms_of(works, count=count, few=few)
    for timings in after_each_round(arms, num_rounds=num_rounds):
        report.details[what] = {
            "rows": count, "seconds": timings.seconds, "processor_seconds": tally.medians()
        }  # fmt: skip
        work = timings.beyond(**{name: _start_up(name) for name in works})
        for name in names:
            report.add(f"{name}'s time / ours: {what}", work.ratio(name, ours))
            report.add(f"the same, start-up left in: {name}, {what}", timings.ratio(name, ours))


def processor_seconds_here() -> float:
    """Of this process and all below it, those that have ended there included."""
    here = psutil.Process()
    total = 0.0
    for process in (here, *here.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total
