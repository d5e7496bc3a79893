"""How time, memory and requests grow with the work: the slope of each on logarithmic axes.

    python -m benchmarks.growth [--only plan --only keys] [--largest 1000000] [--minutes 1]
        [--rounds 3] [--quick]

Every size runs in a process of its own, on stand-ins: tiny rows, models that sleep, trials that are
a formula. A kind of work goes through its sizes, each a multiple of the one before, until the next
would take it over `--minutes` or beyond `--largest`; the largest that was reached is printed. Four
values are followed: seconds, the driver's own processor seconds (which say something on a busy
machine, too), its memory beyond what it held before, and requests to S3 as the server counts them.
A slope of 1 is work that grows with its size; above 1.1 something grows faster: a miss.

`make growth` goes as far as an hour for each kind allows. The details hold every measurement; a
table stands beside the JSON as growth.md, and `benchmarks.growth_plot` draws it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import interleaved
from benchmarks.growth_child import WORK
from benchmarks.interleaved import Ratio, Report, arguments

ROOT = Path(__file__).resolve().parents[1]
SIZES: Mapping[str, Sequence[int]] = {
    "plan": (10**6, 10**7, 10**8, 10**9),
    "drawn_plan": (10**6, 10**7, 10**8, 10**9),
    "files": (100, 1000, 10_000, 100_000, 10**6),
    "keys": (1000, 10_000, 100_000, 10**6),
    "outputs": (30, 300, 3000, 30_000),
    "tune": (30, 100, 300, 1000),
    "prepare": (1000, 10_000, 100_000, 10**6),
    "classify": (1000, 10_000, 100_000, 10**6),
    "generate": (1000, 10_000, 100_000, 10**6),
    "evaluate": (1000, 10_000, 100_000, 10**6),
    "rayjobs": (20, 100, 500),
}
BY_REQUEST = ("rayjobs",)
"""Kinds that need more than `make setup` has: the test cluster's programs."""
AT_MOST = 1.1
LEAST_MB = 1.0
LEAST_SECONDS = 0.01
"""Less than these is noise, and counts as these."""
METHODS = ("GET", "HEAD", "PUT", "POST", "LIST", "DELETE", "COPY")

Row = dict[str, Any]


def requests_of(row: Row) -> float | None:
    """To S3, or to Kubernetes' API server."""
    if "s3" in row:
        return float(sum(row["s3"].get(method, 0) for method in METHODS))
    return row.get("api_requests")


def values_of(row: Row) -> dict[str, float]:
    """What is followed."""
    found = {
        "seconds": row["seconds"],
        "processor seconds": max(row["driver_processor_seconds"], LEAST_SECONDS),
        "driver's MB": max(row["driver_mb"], LEAST_MB),
    }
    if requests := requests_of(row):
        found["requests"] = requests
    return found


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """By least squares on logarithmic axes. Errors: ValueError for fewer than two sizes."""
    if len(set(sizes)) < 2:
        raise ValueError("a slope needs two sizes")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measured(kind: str, size: int, *, timeout: float) -> list[Row]:
    """The rows of one child, or none where it took too long.

    Errors: subprocess.CalledProcessError when it failed.
    """
    path = os.pathsep.join([str(ROOT), str(ROOT / "hack"), os.environ.get("PYTHONPATH", "")])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.growth_child", kind, str(size)],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
            check=True, timeout=timeout,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return []
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def sizes_in_time(kind: str, given: Any) -> Iterator[tuple[int, list[Row]]]:
    """Growing sizes with their rows, as long as the next is expected to end in time."""
    sizes = [size for size in SIZES[kind] if size <= given.largest]
    limit, ended = given.minutes * 60, [0.0]
    for number, size in enumerate(sizes[:2] if given.quick else sizes):
        started = time.perf_counter()
        # Two sizes make a slope, however long they take.
        if number > 1 and sum(ended) + expected(sizes[: number + 1], ended[1:]) > limit:
            return
        rows = measured(kind, size, timeout=max(limit - sum(ended), 60) if number > 1 else 3600)
        if not rows:
            return
        yield size, rows
        ended.append(time.perf_counter() - started)


def expected(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Of the last size, in proportion to what the last two took beyond each other."""
    before, last, following = sizes[-3:]
    more = max(seconds[-1] - seconds[-2], 0.0)
    return seconds[-1] + more * (following - last) / (last - before)


def sweep(kind: str, report: Report, given: Any) -> None:
    """Rounds of one kind, and a row for the slope of each value of each subject."""
    slopes: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    reached: list[int] = []
    for number in range(given.rounds):
        found: defaultdict[str, list[Row]] = defaultdict(list)
        # Later rounds go as far as the first, or their slopes would be of something else.
        again = ((size, measured(kind, size, timeout=3600)) for size in reached)
        for size, rows in sizes_in_time(kind, given) if not number else again:
            for row in rows:
                found[row["subject"]].append(row)
                report.details["rows"].append({"kind": kind, "round": number, **row})
                print(shown(row), flush=True)
            if not number:
                reached.append(size)
            report.details["largest"][kind] = reached[-1]
            report.write()
        for subject, rows in found.items():
            if len(rows) < 2:  # a later round that ran out of time has no slope
                continue
            for value in values_of(rows[0]):
                series = [values_of(row)[value] for row in rows]
                slopes[subject, value].append(slope([row["n"] for row in rows], series))
    print(f"growth: {kind}: the largest that was reached: {report.details['largest'][kind]:,}")
    for (subject, value), each in slopes.items():
        report.add(f"{subject}: slope of {value}", Ratio.of(each), at_most=AT_MOST)


def shown(row: Row) -> str:
    """One measurement for people."""
    values = ", ".join(f"{name} {value:.4g}" for name, value in values_of(row).items())
    return f"growth: {row['subject']}, {row['n']:,}: {values}"


def table(rows: Sequence[Row]) -> str:
    """Medians over the rounds, as Markdown."""
    series: defaultdict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        series[row["subject"], row["n"]].append(row)
    lines = [
        "| | n | seconds | driver's processor µs each | driver's MB | requests each | bytes each |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for (subject, size), same in series.items():
        seconds = float(np.median([row["seconds"] for row in same]))
        processor = float(np.median([row["driver_processor_seconds"] for row in same]))
        memory = float(np.median([row["driver_mb"] for row in same]))
        cells = [subject, f"{size:,}", f"{seconds:.3g}", f"{processor / size * 1e6:.3g}"]
        cells += [f"{memory:.3g}", *_of_requests(same[0], size)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of_requests(row: Row, size: int) -> list[str]:
    requests = requests_of(row)
    if requests is None:
        return ["", ""]
    traffic = row.get("s3", {})
    num_bytes = traffic.get("sent", 0) + traffic.get("received", 0)
    return [f"{requests / size:.3g}", f"{num_bytes / size:,.0f}" if "s3" in row else ""]


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--only", choices=list(WORK), action="append")
    parser.add_argument("--largest", type=lambda text: int(float(text)), default=10**9)
    parser.add_argument("--minutes", type=float, default=1.0, help="most for a kind and round")
    given = parser.parse_args()
    report = Report("growth", details={"rows": [], "largest": {}, "failed": {}})
    for kind in given.only or [kind for kind in SIZES if kind not in BY_REQUEST]:
        try:
            sweep(kind, report, given)
        except subprocess.CalledProcessError as error:
            report.details["failed"][kind] = str(error)
            print(f"growth: {kind} failed: {error}", file=sys.stderr, flush=True)
    report.write()
    text = table(report.details["rows"])
    (interleaved.RESULTS / "growth.md").write_text(text)
    print(text)
    if report.details["failed"]:
        sys.exit(f"growth: failed: {', '.join(report.details['failed'])}")


if __name__ == "__main__":
    main()
