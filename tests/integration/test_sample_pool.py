"""Work on restartable actors: results in order, bounded queues, errors that keep their type."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from darkroom.errors import ConfigError, DarkroomError
from darkroom.jobs.sample.pool import QUEUE_PER_ACTOR, ordered_results


def pool(folder: Path, num_actors: int, *, max_restarts: int = 2) -> list[Any]:
    """Actors that log what they do, wait where told, and die where told."""

    class Worker:  # inside a function, so that Ray carries it by value
        def work(self, task: int) -> int:
            with (folder / f"{task}.log").open("a") as log:
                log.write("x")
            deadline = time.monotonic() + 120
            while (folder / f"hold-{task}").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            if (folder / f"kill-{task}").exists():
                if (folder / f"kill-{task}").read_text() == "once":
                    (folder / f"kill-{task}").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            if task == 1000:
                raise ConfigError("task", task, "is not wanted", "leave it out")
            return task * 10

    actor = ray.remote(Worker).options(
        num_cpus=0.1, max_restarts=max_restarts, max_task_retries=max_restarts
    )
    return [actor.remote() for _ in range(num_actors)]


def times_done(folder: Path, task: int) -> int:
    log = folder / f"{task}.log"
    return len(log.read_text()) if log.exists() else 0


def test_results_come_in_order_and_few_wait_for_a_slow_one(ray_local: None, tmp_path: Path) -> None:
    (tmp_path / "hold-0").touch()
    handed_out: list[int] = []

    def tasks() -> Iterator[int]:
        for task in range(60):
            handed_out.append(task)
            yield task

    def let_go() -> None:
        """Once nothing moves any more: all that was handed out is done, but task 0's actor's."""
        still = 0
        while still < 25:
            before = len(handed_out)
            time.sleep(0.02)
            is_idle = sum(times_done(tmp_path, task) for task in handed_out) >= before - 1
            still = still + 1 if is_idle and len(handed_out) == before > 1 else 0
        held.append(len(handed_out))
        (tmp_path / "hold-0").unlink()

    held: list[int] = []
    releaser = threading.Thread(target=let_go)
    releaser.start()
    results = list(ordered_results(pool(tmp_path, 2), "work", tasks()))
    releaser.join()
    assert results == [task * 10 for task in range(60)]
    assert held[0] <= 12, "without a bound all 60 would have been handed out"
    assert all(times_done(tmp_path, task) == 1 for task in range(60))


def test_a_dead_actor_is_replaced_and_only_its_tasks_are_done_again(
    ray_local: None, tmp_path: Path
) -> None:
    (tmp_path / "kill-5").write_text("once")
    results = list(ordered_results(pool(tmp_path, 2), "work", range(12)))
    assert results == [task * 10 for task in range(12)]
    times = {task: times_done(tmp_path, task) for task in range(12)}
    again = {task for task, count in times.items() if count != 1}
    # Task 5, and perhaps the one before it, whose result had not left the actor yet.
    assert 5 in again
    assert len(again) <= QUEUE_PER_ACTOR
    assert all(times[task] == 2 for task in again)


def test_an_actor_that_keeps_dying_ends_the_run_with_a_remedy(
    ray_local: None, tmp_path: Path
) -> None:
    (tmp_path / "kill-3").write_text("always")
    with pytest.raises(DarkroomError, match="more often than max_restarts") as caught:
        list(ordered_results(pool(tmp_path, 1, max_restarts=1), "work", range(6)))
    assert "\n" not in str(caught.value)
    assert times_done(tmp_path, 3) == 2


def test_bad_input_found_by_an_actor_keeps_its_type(ray_local: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave it out") as caught:
        list(ordered_results(pool(tmp_path, 1), "work", [1, 1000, 2]))
    assert caught.value.exit_code == 2
