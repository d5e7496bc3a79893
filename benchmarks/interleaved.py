"""Ratios of two ways to do the same, measured in one run and interleaved.

A machine's speed drifts while it measures: neighbours, heat, caches. So the arms of a comparison
run in ABBA order (each round forward, then backward), each round gives one ratio, and what is
reported is the median of the ratios with a bootstrap interval. Seconds are kept beside them, but
only ratios mean anything on another machine. Rounds before the first are warm-up and dropped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(os.environ.get("BENCH_RESULTS", "build/benchmarks"))
NUM_RESAMPLES = 2000
LEVEL = 0.95

DEFAULT_NUM_ROUNDS = 7

Arm = Callable[[], float | None]
"""Does the work once. Returns the seconds that count, or None for the time of the whole call."""


@dataclass(frozen=True)
class Timings:
    """Seconds of each arm, in the order of the rounds: one forward and one backward each."""

    seconds: Mapping[str, Sequence[float]]

    def ratio(self, numerator: str, denominator: str) -> Ratio:
        """Time of one arm over another's, round by round."""
        pairs = zip(self.seconds[numerator], self.seconds[denominator], strict=True)
        return Ratio.of([above / below for above, below in pairs])

    def beyond(self, **start_up: str) -> Timings:
        """With these arms' seconds beyond those of the arm named for each as its start-up."""
        beyond = {
            name: [s - t for s, t in zip(self.seconds[name], self.seconds[begin], strict=True)]
            for name, begin in start_up.items()
        }
        return Timings({**self.seconds, **beyond})

    def scaled(self, name: str, factors: Sequence[float]) -> Timings:
        """With one arm's seconds times a factor of each round."""
        scaled = [s * factor for s, factor in zip(self.seconds[name], factors, strict=True)]
        return Timings({**self.seconds, name: scaled})

    @classmethod
    def joined(cls, parts: Sequence[Timings]) -> Timings:
        """The rounds of several measurements of the same arms, one after the other."""
        names = list(parts[0].seconds)
        return cls({name: [s for part in parts for s in part.seconds[name]] for name in names})


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, with a percentile bootstrap interval (Efron 1993)."""

    median: float
    low: float
    high: float
    num_rounds: int

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Ratio:
        """Errors: ValueError for no rounds."""
        sample = np.asarray(ratios, dtype=np.float64)
        if not len(sample):
            raise ValueError("no rounds were measured")
        random = np.random.default_rng(0)
        resampled = random.choice(sample, (NUM_RESAMPLES, len(sample)))
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(np.median(resampled, axis=1), [tail, 1 - tail])
        return cls(float(np.median(sample)), float(low), float(high), len(sample))

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.num_rounds}"


def measure(arms: Mapping[str, Arm], *, num_rounds: int, num_warmups: int = 1) -> Timings:
    """Run the arms ABBA: every round gives each arm the mean of its two turns."""
    *_, timings = after_each_round(arms, num_rounds=num_rounds, num_warmups=num_warmups)
    return timings


def after_each_round(
    arms: Mapping[str, Arm], *, num_rounds: int, num_warmups: int = 1
) -> Iterator[Timings]:
    """`measure` for rounds that take minutes: all rounds so far, each time that one has ended.

    So rows can be written that hold what is known, and an end before the last round costs no other.
    """
    for _ in range(num_warmups):
        for arm in arms.values():
            arm()
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(num_rounds):
        turns: dict[str, list[float]] = {name: [] for name in arms}
        for name in (*arms, *reversed(list(arms))):
            turns[name].append(timed(arms[name]))
        for name, both in turns.items():
            seconds[name].append(statistics.fmean(both))
        yield Timings({name: list(each) for name, each in seconds.items()})


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """What every benchmark can be told: --rounds, --quick.

    From here on SIGTERM ends it as Ctrl-C does: what it started is stopped, its files are removed.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=DEFAULT_NUM_ROUNDS)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    return parser


def timed(arm: Arm) -> float:
    """Seconds of one call, or what the call says itself."""
    started = time.perf_counter()
    own = arm()
    return time.perf_counter() - started if own is None else own


@dataclass
class Report:
    """The results of one benchmark: ratios against their targets, and what explains them.

    Kept as JSON under RESULTS, and shown, row by row: what ends a benchmark takes no row with it.
    """

    name: str
    ratios: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, ratio: Ratio, *, at_least: float | None = None,
            at_most: float | None = None) -> bool | None:  # fmt: skip
        """Write a ratio and its target; met means that the interval's bad end meets it.

        A row of that name which is there already is of fewer rounds: this one takes its place.
        Returns whether it is met, None without a target.
        """
        met = None
        if at_least is not None:
            met = ratio.low >= at_least
        if at_most is not None:
            met = ratio.high <= at_most
        row = {
            "what": what, **asdict(ratio), "at_least": at_least, "at_most": at_most, "met": met
        }  # fmt: skip
        places = {known["what"]: at for at, known in enumerate(self.ratios)}
        if what in places:
            self.ratios[places[what]] = row
        else:
            self.ratios.append(row)
        self.write()
        print(f"{self.name} (load {os.getloadavg()[0]:.1f}) {_line(row)}", flush=True)
        return met

    def write(self) -> None:
        """All that is known by now, as JSON."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        values = {
            "benchmark": self.name,
            "machine": {
                "cores": os.cpu_count(),
                "load_average": os.getloadavg(),
                "python": platform.python_version(),
                "processor": platform.machine(),
            },
            "ratios": self.ratios,
            "details": self.details,
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(values, indent=1) + "\n")


def _line(row: Mapping[str, Any]) -> str:
    target = "-"
    if row["at_least"] is not None:
        target = f">= {row['at_least']:g}"
    if row["at_most"] is not None:
        target = f"<= {row['at_most']:g}"
    met = {True: "met", False: "MISSED", None: ""}[row["met"]]
    interval = f"[{row['low']:.3f}, {row['high']:.3f}] n={row['num_rounds']}"
    return f"{row['what']:58} {row['median']:8.3f} {interval:22} {target:>8} {met}".rstrip()
