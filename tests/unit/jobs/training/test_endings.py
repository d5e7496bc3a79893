"""Which errors end a run at once, which restart its workers, and what is said of them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from ray.train import ControllerError

from darkroom.errors import DataError, StorageAccessError, StorageError, UnreachableError
from darkroom.jobs.artifacts.model import OutOfMemory
from darkroom.jobs.training.driver import _translate
from darkroom.jobs.training.memory_events import MicroBatchTooLargeError
from darkroom.jobs.training.micro_batches import MicroBatches
from darkroom.jobs.training.monitor import RunMonitor, WorkerAddress
from darkroom.jobs.training.restarts import EndOrRestart

EXPIRED = StorageAccessError("credentials", None, "they have expired", "log in again")
HANGING = "A worker health check has been hanging for 6.02 seconds. Marking the worker as dead.\n"


class Lost:
    """Stands where the line to the monitor would, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def tell(self, method: str, *given: Any) -> None:
        assert method == "worker_lost"
        self.told.append(given)

    def ask(self, method: str, *given: Any) -> Any:
        raise AssertionError(f"nothing waits for {method}{given}")

    def post_row(self, row: dict[str, Any]) -> str | None:
        raise AssertionError(f"nobody posts {row}")


@pytest.mark.parametrize("fault", [EXPIRED, DataError("row 1", None, "is damaged")])
def test_a_fault_of_one_rank_ends_the_run(fault: Exception) -> None:
    lost = Lost()
    callback = EndOrRestart(lost, 5)
    with pytest.raises(type(fault)) as caught:
        callback.after_exception(None, {0: RuntimeError("connection closed by peer"), 1: fault})
    assert caught.value is fault
    assert not lost.told
    assert _translate(ControllerError(caught.value)) is fault


def test_full_memory_in_a_collective_ends_the_attempt_and_says_with_what() -> None:
    event = OutOfMemory(step=7, rank=1, micro_batch_size=8, new_micro_batch_size=4)
    made = MicroBatchTooLargeError(event)
    error = pickle.loads(pickle.dumps(made))  # noqa: S301 - as Ray carries it
    with pytest.raises(MicroBatchTooLargeError, match=r"rank 1 .* step 7 with 8 rows") as caught:
        EndOrRestart(Lost(), 5).after_exception(None, {0: RuntimeError("closed"), 1: error})
    assert caught.value.event == event
    batches = MicroBatches(8, batch_size=8)
    batches.know([event])
    batches.restore({"events": []})
    assert (batches.size, batches.events) == (4, [event])
    batches.restore(batches.state())
    assert batches.events == [event]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnreachableError("endpoint", "http://s3", "cannot be reached"), "failed (endpoint:"),
        (StorageError("the server answered 500"), "failed (the server answered 500)"),
        (RuntimeError("The actor died unexpectedly"), "has died"),
        (RuntimeError(HANGING + "Worker info: ..."), "has not answered for 5 s"),
    ],
)
def test_what_may_heal_by_itself_restarts_and_names_the_rank(error: Exception, reason: str) -> None:
    lost = Lost()
    EndOrRestart(lost, 5).after_exception(None, {1: error})
    ((rank, told),) = lost.told
    assert rank == 1
    assert told.startswith(reason)


def test_the_monitor_names_who_was_lost() -> None:
    monitor = RunMonitor("s3://b/run", 0)
    monitor._addresses[1] = WorkerAddress(1, 4242, "node-a")
    monitor.worker_lost(1, "has died")
    (line,) = monitor.snapshot().warnings
    assert line.startswith("rank 1 (pid 4242 on node-a) has died (step 0): the run resumes")
    assert not monitor.snapshot().warnings
