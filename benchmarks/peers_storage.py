"""Uploads and downloads of `darkroom.storage` beside obstore and AWS's common runtime.

    python -m benchmarks.peers_storage [--rounds 5] [--quick]

The files and the server are those of `benchmarks.storage`, which has s5cmd. All three are
libraries in running processes; obstore and the common runtime run in an environment of their own
(`benchmarks/peers.py`), with as many objects in flight and parts as large as ours. Each verifies
what it verifies by default: ours hashes every object and part by sha256, up and down.

The ratio is the peer's time over ours: above 1, ours is faster. The details hold the processor
seconds of either side, without the server's.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.interleaved import Arm, Report, arguments
from benchmarks.peers import Peer
from benchmarks.s3_bench import BUCKET, CpuSeconds, fresh_folder, on_fresh_servers
from benchmarks.storage import Files, file_sets

PEERS = {"obstore": "obstore_copies", "CRT": "crt_copies"}


def arms(files: Files, programs: dict[str, Peer], used: defaultdict[str, list[float]]) -> (
    dict[str, dict[str, Arm]]
):  # fmt: skip
    """Up, then down, of each: what is down is what was up."""
    names = [path.name for path in files.paths]

    def peer_up(name: str) -> float:
        return programs[name].seconds(
            "up", source=str(files.source), bucket=BUCKET, prefix=f"{files.prefix}-{name}"
        )

    def peer_down(name: str) -> float:
        fresh_folder(files.target)
        seconds = programs[name].seconds(
            "down", target=str(files.target), bucket=BUCKET, prefix=f"{files.prefix}-{name}",
            names=names,
        )  # fmt: skip
        assert all(
            (files.target / path.name).stat().st_size == path.stat().st_size for path in files.paths
        )
        return seconds

    def ours_down() -> None:
        fresh_folder(files.target)
        files.ours_down()

    ups: dict[str, Arm] = {name: partial(peer_up, name) for name in programs}
    downs: dict[str, Arm] = {name: partial(peer_down, name) for name in programs}
    return {
        f"{files.what}, up": {**ups, "ours": _counted(files.ours_up, used["up"])},
        f"{files.what}, down": {**downs, "ours": _counted(ours_down, used["down"])},
    }


def _counted(work: Callable[[], None], used: list[float]) -> Arm:
    def arm() -> None:
        before = peers.processor_seconds_here()
        work()
        used.append(peers.processor_seconds_here() - before)

    return arm


def medians(used: Mapping[str, list[float]], programs: Mapping[str, Peer]) -> dict[str, float]:
    """Processor seconds by side and way."""
    ours = {f"ours, {way}": statistics.median(each) for way, each in used.items()}
    return ours | {
        f"{name}, {way}": statistics.median(each)
        for name, program in programs.items()
        for way, each in program.processor_seconds.items()
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=5)
    given = parser.parse_args()
    peers.build()
    report = Report("peers_storage")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        for files in file_sets(Path(folder), quick=given.quick):
            used: defaultdict[str, list[float]] = defaultdict(list)
            with ExitStack() as running:
                programs = {name: running.enter_context(Peer(each)) for name, each in PEERS.items()}
                ways = arms(files, programs, used)
                for timings in on_fresh_servers(ways, CpuSeconds(), num_rounds=given.rounds):
                    report.details[files.what] = {
                        "seconds": {what: each.seconds for what, each in timings.items()},
                        "processor_seconds": medians(used, programs),
                    }
                    for what, each in timings.items():
                        for name in programs:
                            report.add(f"{name}'s time / ours: {what}", each.ratio(name, "ours"))
            for moved in (files.source, files.target):
                fresh_folder(moved)


if __name__ == "__main__":
    main()
