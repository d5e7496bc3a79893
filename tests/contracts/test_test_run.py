"""The test run over several processes: its record of seconds is of this tree, and is obeyed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.file_clock import num_processes, recorded_seconds

ROOT = Path(__file__).resolve().parents[2]


def recorded() -> dict[str, dict[str, float]]:
    """Seconds by file, of `make test` and of `make test-runs`."""
    kept = {name: s for name, s in recorded_seconds().items() if (ROOT / name).is_file()}
    runs = {name: s for name, s in kept.items() if name.startswith("tests/runs/")}
    return {"test": {name: s for name, s in kept.items() if name not in runs}, "test-runs": runs}


@pytest.mark.parametrize("target", ["test", "test-runs"])
def test_no_file_is_so_long_that_the_others_wait_for_it(target: str) -> None:
    """Split one that is. A share of the whole is the same on every machine."""
    seconds = recorded()[target]
    share = sum(seconds.values()) / 4  # of four processes
    assert {name: s for name, s in seconds.items() if s > share} == {}


def test_ci_runs_both() -> None:
    steps = re.findall(r"^step (\S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert {"test", "test-runs"} <= set(steps)


def test_there_is_a_process_whatever_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_processes() >= 1
    memory = type("Memory", (), {"available": 0})
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert num_processes() == 1


class Process:
    """An xdist process that notes what it is told to run."""

    gateway = type("Gateway", (), {"id": "gw"})
    shutting_down = False

    def __init__(self) -> None:
        self.told: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.told += indices

    def shutdown(self) -> None:
        self.shutting_down = True


class Config:
    """As much of pytest's config as a scheduler reads: two processes."""

    option = type("Option", (), {"loadscopereorder": False})

    def getvalue(self, name: str) -> list[str]:
        return {"tx": ["popen", "popen"]}[name]


def test_a_free_process_takes_the_longest_file_and_waits_with_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    longest_first = pytest.importorskip("tests.helpers.longest_first")
    seconds = {"a": 1.0, "b": 50.0, "c": 40.0, "d": 0.5, "e": 20.0}  # and f is unknown: 30
    monkeypatch.setattr(longest_first, "recorded_seconds", lambda: seconds)
    names = ["a::1", "b::1", "b::2", "c::1", "d::1", "e::1", "f::1"]
    scheduler: Any = longest_first.LongestFirst(Config(), None)
    processes = [Process(), Process()]
    for process in processes:
        scheduler.add_node(process)
        scheduler.add_node_collection(process, names)
    scheduler.schedule()

    def told(number: int) -> list[str]:
        return [names[index] for index in processes[number].told]

    # b has two tests, so that process needs no more yet; c's one must know what follows.
    assert told(0) == ["b::1", "b::2"]
    assert told(1) == ["c::1", "d::1"]
    scheduler.mark_test_complete(processes[1], names.index("c::1"))
    assert told(1)[2:] == ["f::1"]
    scheduler.mark_test_complete(processes[0], names.index("b::1"))
    assert told(0)[2:] == ["a::1"]
    scheduler.mark_test_complete(processes[0], names.index("b::2"))
    assert told(0)[3:] == ["e::1"]
    for process in processes:
        for index in process.told:
            scheduler.mark_test_complete(process, index)
        assert process.shutting_down
    assert scheduler.tests_finished
