"""Waiting on a real Ray for what no node offers is said, and ends; busy nodes are waited for."""

from __future__ import annotations

import time
from typing import Any

import pytest
import ray
from ray.autoscaler.v2.sdk import get_cluster_status

from darkroom.errors import DarkroomError
from darkroom.jobs import demand
from darkroom.jobs.progress import progress

remote: Any = ray.remote


@pytest.fixture
def impatient(ray_local: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become tenths; the node is known and has nothing to do; what a test before this one
    asked for in vain is over.

    A demand outlives the cancelled task that made it, by as long as Ray's reports of it take.
    """
    limit = time.monotonic() + 120
    while not (status := get_cluster_status(ray_local)).idle_nodes or demand.describe(status):
        assert time.monotonic() < limit, f"no test asks for it any more: {demand.describe(status)}"
        time.sleep(0.1)
    monkeypatch.setattr(demand, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(demand, "PATIENCE_SECONDS", 0.6)
    monkeypatch.setenv(demand.TIMEOUT_VARIABLE, "3")


def test_a_demand_that_no_pool_can_fill_is_said_and_ends_the_job(
    impatient: None, darkroom_log: list[str]
) -> None:
    task = remote(lambda: None).options(num_gpus=7).remote()
    with (
        pytest.raises(DarkroomError, match=r"no node offers 1 x \{CPU: 1, GPU: 7\}.*for 3 s"),
        demand.watched_demands(),
        progress(1, "work", "row"),
    ):
        ray.get(task)
    ray.cancel(task)
    assert "the job ends after 3 s (DARKROOM_DEMAND_TIMEOUT_SECONDS)" in "\n".join(darkroom_log)


def test_a_job_that_goes_on_is_not_ended_for_anothers_demand(impatient: None) -> None:
    others = remote(lambda: None).options(num_gpus=7).remote()
    with demand.watched_demands(), progress(20, "work", "row") as bar:
        for _ in range(20):
            time.sleep(0.25)  # work, longer in all than the limit
            bar.advance()
    ray.cancel(others)


def test_what_a_busy_node_offers_later_is_waited_for_in_silence(
    impatient: None, darkroom_log: list[str]
) -> None:
    task = remote(lambda: time.sleep(1.5)).options(num_cpus=4)
    tasks = [task.remote() for _ in range(3)]
    with demand.watched_demands(), progress(1, "work", "row"):
        ray.get(tasks)
    assert not darkroom_log
