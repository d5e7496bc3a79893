"""Uploads and downloads of `darkroom.storage` against s5cmd, on the same SeaweedFS.

    python -m benchmarks.storage [--rounds 7] [--quick]

1. One object of 1 GiB, up and down: s5cmd in parts of 64 MiB, ours in its own of 16 MiB.
2. The same GiB as 16 objects of 64 MiB each, as datasets are laid out.
3. 2,000 objects of 100 kB, up and down.

The ratio is s5cmd's time over ours: at least 0.9. Source and target are local files; the server
is the embedded one, on the same cores. s5cmd is a command of its own each time, as it is used
(its start is in its time: `s5cmd_start_seconds`); ours is the library inside a running job, where
uploads happen.

What each verifies by default. Ours: a sha256 of every object and of every part, sent as the
store's checksum, which the server compares with what arrives and keeps; downloads are hashed, and
the sha256 is there to be compared with the manifest's. s5cmd: signs every request body with its
sha256 and sends an MD5 of it; it compares nothing on the way down.

The details hold the processor seconds of client and server for each arm, and, where a target is
missed, a profile of our side, one object after the other in one thread.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from benchmarks import s5cmd
from benchmarks.interleaved import Arm, Report, arguments
from benchmarks.profiles import profiled
from benchmarks.s3_bench import (
    BUCKET,
    CpuSeconds,
    fresh_folder,
    fresh_server,
    on_fresh_servers,
    random_files,
)

from darkroom.storage import open_store

AT_LEAST = 0.9
MIB = 1 << 20
OBJECT_BYTES = 100_000


@dataclass
class Files:
    """A set of local files to move up, and a place to move it down to."""

    what: str
    source: Path
    target: Path
    prefix: str

    def ours_up(self) -> None:
        """By `upload_many`."""
        store = open_store(f"s3://{BUCKET}/{self.prefix}-ours")
        store.upload_many([(path, path.name) for path in self.paths])

    def ours_down(self) -> None:
        """By `download_many`."""
        store = open_store(f"s3://{BUCKET}/{self.prefix}-ours")
        found = store.download_many([(path.name, self.target / path.name) for path in self.paths])
        assert found == self.digests

    def s5cmd_up(self) -> None:
        """`s5cmd cp 'source/*' s3://...`."""
        s5cmd.copy(f"{self.source}/*", f"s3://{BUCKET}/{self.prefix}-s5cmd/")

    def s5cmd_down(self) -> None:
        """`s5cmd cp 's3://.../*' target/`."""
        s5cmd.copy(f"s3://{BUCKET}/{self.prefix}-s5cmd/*", f"{self.target}/")

    def comparisons(self, cpu: CpuSeconds) -> dict[str, Mapping[str, Arm]]:
        """Up, then down: the second needs what the first left there."""

        def counting(name: str) -> dict[str, Arm]:
            return {
                "s5cmd": cpu.counting(f"{self.what} {name} s5cmd", getattr(self, f"s5cmd_{name}")),
                "ours": cpu.counting(f"{self.what} {name} ours", getattr(self, f"ours_{name}")),
            }

        down = {
            name: partial(self._into_empty_folder, arm) for name, arm in counting("down").items()
        }
        return {f"{self.what}, up": counting("up"), f"{self.what}, down": down}

    def _into_empty_folder(self, arm: Arm) -> float | None:
        fresh_folder(self.target)
        seconds = arm()
        for path in self.paths:
            assert (self.target / path.name).stat().st_size == path.stat().st_size, path
        return seconds

    def profile(self) -> dict[str, Any]:
        """What our time for one object consists of."""
        store = open_store(f"s3://{BUCKET}/{self.prefix}-profile")
        count = len(self.paths)
        fresh_folder(self.target)

        def up() -> None:
            for path in self.paths:
                store.upload(path, path.name)

        def down() -> None:
            for path in self.paths:
                store.download(path.name, self.target / path.name)

        return {"up": profiled(up, count=count), "down": profiled(down, count=count)}

    @cached_property
    def paths(self) -> list[Path]:
        """The files to move."""
        return sorted(self.source.iterdir())

    @cached_property
    def digests(self) -> list[str]:
        """sha256 of each."""
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.paths]


def file_sets(root: Path, *, quick: bool) -> list[Files]:
    """What is moved."""
    total = (128 if quick else 1024) * MIB
    part = s5cmd.PART_MIB * MIB
    sets = [
        ("one object", 1, total),
        ("64 MiB objects", total // part, part),
        ("100 kB objects", 200 if quick else 2000, OBJECT_BYTES),
    ]
    return [
        Files(
            what=what,
            source=random_files(root / f"up-{number}", count=count, size=size),
            target=root / f"down-{number}",
            prefix=f"set-{number}",
        )
        for number, (what, count, size) in enumerate(sets)
    ]


def main() -> None:
    given = arguments(__doc__).parse_args()
    s5cmd.build()
    started = time.perf_counter()
    subprocess.run([str(s5cmd.PROGRAM), "version"], check=True, stdout=subprocess.DEVNULL)
    report = Report("storage", details={"s5cmd_start_seconds": time.perf_counter() - started})
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        for files in file_sets(Path(folder), quick=given.quick):
            cpu = CpuSeconds()
            met: dict[str, bool | None] = {}
            comparisons = files.comparisons(cpu)
            for timings in on_fresh_servers(comparisons, cpu, num_rounds=given.rounds):
                report.details[files.what] = {
                    "seconds": {name: each.seconds for name, each in timings.items()},
                    "processor_seconds": cpu.medians(),
                }
                for name, each in timings.items():
                    ratio = each.ratio("s5cmd", "ours")
                    met[name] = report.add(f"s5cmd's time / ours: {name}", ratio, at_least=AT_LEAST)
            if not all(met.values()):
                with fresh_server(cpu):
                    report.details[files.what]["profile"] = files.profile()
            for moved in (files.source, files.target):
                fresh_folder(moved)
    report.write()


if __name__ == "__main__":
    main()
