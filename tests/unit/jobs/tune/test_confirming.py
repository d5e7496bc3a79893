"""Confirming runs whose processes are lost are started again, as trials are.

The runs are a formula here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from darkroom.config import build_config
from darkroom.jobs.tune.config import TuneConfig
from darkroom.jobs.tune.crew import NextErrand, Watch
from darkroom.jobs.tune.job import confirm
from darkroom.jobs.tune.study import Ending
from darkroom.jobs.tune.trial import Errand

BEST = {"batch_size": 32}
NAMES = ("best-1", "untuned-1", "best-2", "untuned-2")


class LosingCrew:
    """Loses each run so many times before it comes to its end; `at_once` at a time."""

    def __init__(self, losses: Mapping[str, int], *, at_once: int = 1) -> None:
        self._left = Counter(losses)
        self._at_once = at_once
        self.started: list[Errand] = []

    def work(self, following: NextErrand, watch: Watch) -> Iterator[tuple[Errand, Ending | None]]:
        running: list[Errand] = []
        while True:
            while len(running) < self._at_once and (errand := following()) is not None:
                self.started.append(errand)
                running.append(errand)
            if not running:
                return
            assert not watch(running[0], 10, 0.5)
            yield running[0], self._ending(running.pop(0))

    def _ending(self, errand: Errand) -> Ending | None:
        name = errand.name.removeprefix("confirmed/")
        if self._left[name] > 0:
            self._left[name] -= 1
            return None
        if self._left[name] < 0:
            return Ending(state="failed", error="the loss became NaN")
        return Ending(state="complete", value=float(errand.seed or 0))


def config_in(folder: Path) -> TuneConfig:
    values = {
        "input": "/data", "output": str(folder), "run": {}, "confirm": 2,
        "max_starts": 3, "space": {"batch_size": {"kind": "int", "low": 16, "high": 64}},
    }  # fmt: skip
    return build_config(TuneConfig, values)


@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_a_lost_run_is_started_again(at_once: int, tmp_path: Path, darkroom_log: list[str]) -> None:
    crew = LosingCrew({"best-1": 2, "untuned-2": 1}, at_once=at_once)
    found = confirm(config_in(tmp_path), crew, BEST)
    assert {what: set(seeds) for what, seeds in found.items()} == {
        "best": {1, 2}, "untuned": {1, 2},
    }  # fmt: skip
    endings = [ending for seeds in found.values() for ending in seeds.values()]
    assert {ending.state for ending in endings} == {"complete"}
    starts = Counter(errand.name.removeprefix("confirmed/") for errand in crew.started)
    assert starts == {**dict.fromkeys(NAMES, 1), "best-1": 3, "untuned-2": 2}
    assert {errand.name: errand.tried for errand in crew.started} == {
        f"confirmed/{name}": BEST if name.startswith("best") else {} for name in NAMES
    }
    assert not [line for line in darkroom_log if "failed" in line]


def test_one_that_is_always_lost_is_given_up_and_said(
    tmp_path: Path, darkroom_log: list[str]
) -> None:
    crew = LosingCrew({"best-1": 99, "untuned-1": -1})
    found = confirm(config_in(tmp_path), crew, BEST)
    lost, failed = found["best"][1], found["untuned"][1]
    assert (lost.state, lost.error) == ("failed", "its process was lost 3 times")
    assert (failed.state, failed.error) == ("failed", "the loss became NaN")
    assert [errand.name for errand in crew.started].count("confirmed/best-1") == 3
    assert [errand.name for errand in crew.started].count("confirmed/untuned-1") == 1
    assert sorted(line for line in darkroom_log if "failed" in line) == [
        "confirmed/best-1 failed: its process was lost 3 times",
        "confirmed/untuned-1 failed: the loss became NaN",
    ]
