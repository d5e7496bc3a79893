"""Every worker-second is in exactly one part, whatever happens to workers and drivers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.helpers.clock import Clock

from darkroom.config import JobConfig
from darkroom.jobs.artifacts.model import OutOfMemory
from darkroom.jobs.training.goodput import (
    PARTS,
    Attempt,
    GoodputAccount,
    Seconds,
    Stopwatch,
    WorkerTimes,
    summary,
)
from darkroom.jobs.training.goodput_records import AccountRecords
from darkroom.storage import RunPointer


def times(rank: int, worker: str, joined_at: float, *, first_step: int = 0, step: int = 0,
          **seconds: float) -> WorkerTimes:  # fmt: skip
    parts: Seconds = dict.fromkeys(PARTS, 0.0)
    for part in PARTS:
        parts[part] = seconds.get(part, 0.0)
    return WorkerTimes(rank, worker, joined_at, first_step, step, parts)


def balanced(account: GoodputAccount) -> None:
    for attempt in account.attempts:
        wall = attempt.num_workers * (attempt.until - attempt.began_at)
        assert sum(attempt.seconds.values()) == pytest.approx(wall)
    for before, after in zip(account.own, account.own[1:], strict=False):
        assert before.until == after.began_at


def test_a_stopwatch_runs_one_part_at_a_time() -> None:
    clock = Clock(100.0)
    watch = Stopwatch(clock=clock)
    clock.now += 3
    assert watch.switch("useful") == "startup"
    clock.now += 5
    with watch.measuring("validation"):
        clock.now += 2
        with watch.measuring("data_wait"):
            clock.now += 1
    clock.now += 4
    assert watch.seconds() == {
        "startup": 3, "data_wait": 1, "useful": 9, "redone": 0, "validation": 2, "checkpoint": 0,
        "lost": 0,
    }  # fmt: skip


def test_a_stopwatch_read_by_another_thread_loses_nothing() -> None:
    watch = Stopwatch()
    done = threading.Event()
    sums: list[float] = []

    def read() -> None:
        while not done.is_set():
            sums.append(sum(watch.seconds().values()))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(2000):
        with watch.measuring("data_wait"):
            pass
    done.set()
    reader.join()
    assert sums == sorted(sums)


def test_an_undisturbed_attempt_sums_to_its_wall_time() -> None:
    account = GoodputAccount(driver="a", num_workers=2, began_at=1000)
    account.wait_for_workers(1004)
    assert account.own[0].seconds["startup"] == 8
    account.take([times(0, "w0", 1010, step=7, startup=2, useful=30, data_wait=3),
                 times(1, "w1", 1011, step=7, startup=1, useful=31, data_wait=2)])  # fmt: skip
    balanced(account)
    account.spend("checkpoint", 1050)
    account.end("completed", 1052)
    balanced(account)
    (attempt,) = account.attempts
    assert attempt.ending == "completed"
    assert attempt.until == 1052
    assert attempt.seconds["useful"] == 61
    assert attempt.seconds["startup"] == 10 + 11 + 3 + 2 * 2
    assert summary([attempt]).goodput == pytest.approx(61 / 104)


def test_a_lost_worker_begins_a_new_attempt_and_the_silence_is_lost() -> None:
    account = GoodputAccount(driver="a", num_workers=2, began_at=0)
    first = [times(0, "w0", 10, step=40, useful=20), times(1, "w1", 10, step=41, useful=18)]
    account.take(first)
    again = times(0, "w2", 45, first_step=30, step=30, startup=3)
    account.take([*first, again])
    balanced(account)
    one, two = account.attempts
    assert (one.ending, one.until, one.last_step) == ("worker_lost", 45, 41)
    assert one.seconds["lost"] == 15 + 17
    assert account.highest_step == 41
    account.take(
        [
            *first,
            times(0, "w2", 45, first_step=30, step=50, startup=3, redone=8, useful=9),
            times(1, "w3", 46, first_step=30, step=50, startup=2, redone=8, useful=9),
        ]
    )
    account.end("completed", 66)
    balanced(account)
    assert (two.ending, account.attempts[1].first_step) == ("completed", 30)
    assert account.summary().steps_redone == 11
    assert account.summary().num_attempts == 2


def test_a_killed_driver_is_closed_by_the_next_one() -> None:
    killed = GoodputAccount(driver="a", num_workers=1, began_at=0)
    killed.take([times(0, "w0", 5, step=12, useful=10)])
    record = [Attempt.from_dict(json.loads(json.dumps(a.to_dict()))) for a in killed.attempts]
    after = GoodputAccount(driver="b", num_workers=1, began_at=31, earlier=record)
    first = after.attempts[0]
    assert (first.ending, first.until, first.seconds["lost"]) == ("killed", 31, 16)
    after.take([times(0, "w1", 35, first_step=10, step=20, redone=2, useful=8)])
    after.end("completed", 50)
    balanced(after)
    whole = after.summary()
    assert whole.wall_seconds == 50
    assert sum(whole.worker_seconds.values()) == pytest.approx(50)
    assert whole.steps_redone == 2


def test_the_pause_after_a_stop_is_nobodys() -> None:
    stopped = GoodputAccount(driver="a", num_workers=1, began_at=0)
    stopped.take([times(0, "w0", 1, step=5, useful=4)])
    stopped.end("interrupted", 6)
    after = GoodputAccount(driver="b", num_workers=1, began_at=1000, earlier=stopped.attempts)
    after.end("completed", 1001)
    assert after.summary().wall_seconds == 7
    assert after.summary().worker_seconds["lost"] == 0


def test_what_a_failure_leaves_is_lost() -> None:
    account = GoodputAccount(driver="a", num_workers=1, began_at=0)
    account.take([times(0, "w0", 1, step=5, useful=4)])
    account.end("failed", 20)
    assert account.own[0].seconds["lost"] == 15


def test_a_worker_that_is_told_of_again_is_counted_once() -> None:
    account = GoodputAccount(driver="a", num_workers=1, began_at=0)
    for useful in (1.0, 2.0, 3.0):
        account.take([times(0, "w0", 1, step=5, useful=useful)])
    balanced(account)
    assert account.own[0].seconds["useful"] == 3
    assert len(account.own) == 1


def test_a_missing_workers_time_is_lost() -> None:
    account = GoodputAccount(driver="a", num_workers=2, began_at=0)
    account.take([times(0, "w0", 2, step=1, useful=6)])
    account.take([times(0, "w0", 2, step=1, useful=6), times(0, "w2", 20, first_step=1)])
    balanced(account)
    assert account.own[0].seconds["lost"] == 12 + 20


def test_clocks_that_disagree_never_make_time_negative() -> None:
    account = GoodputAccount(driver="a", num_workers=1, began_at=100)
    account.take([times(0, "w0", 90, step=1, useful=30)])  # a clock that is behind
    account.take([times(0, "w0", 90, step=1, useful=30), times(0, "w1", 110, first_step=1)])
    account.end("completed", 105)
    balanced(account)
    assert all(seconds >= 0 for seconds in account.summary().worker_seconds.values())


def test_records_outlive_their_driver_and_belong_to_one_run(tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    config = JobConfig(output=output)
    one = AccountRecords(RunPointer.claim(output, owner="a", config=config))
    account = GoodputAccount(driver="a", num_workers=1, began_at=0)
    account.take([times(0, "w0", 1, step=5, useful=4)])
    assert one.earlier() == []
    event = OutOfMemory(step=3, rank=1, micro_batch_size=4, new_micro_batch_size=2)
    one.out_of_memory = (event,)
    one.write(account, checkpoint_step=5)
    one.close(account)
    two = AccountRecords(RunPointer.claim(output, owner="b", config=config))
    assert [a.to_dict() for a in two.earlier()] == [a.to_dict() for a in account.own]
    assert two.out_of_memory == (event,)
    (tmp_path / "run" / "goodput" / "broken.json").write_text("{")
    assert isinstance(two.earlier(), list)  # a damaged record never stops a run
    other = JobConfig(output=output, seed=1, on_existing="overwrite")
    three = AccountRecords(RunPointer.claim(output, owner="c", config=other))
    (tmp_path / "run" / "goodput" / "broken.json").unlink()
    assert three.earlier() == []
    assert three.out_of_memory == ()
    three.delete()
    assert not list((tmp_path / "run" / "goodput").glob("*.json"))


def test_a_run_begins_when_its_process_does(tmp_path: Path) -> None:
    """Three runs, since a clock of whole seconds would be right by chance in some."""
    program = tmp_path / "darkroom"
    program.write_text(
        "from darkroom.jobs.training.goodput_records import command_began_at\n"
        "print(command_began_at())\n"
    )
    for _ in range(3):
        before = time.time()
        with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as run:
            after = time.time()
            printed, _ = run.communicate(timeout=240)
        assert before - 0.02 <= float(printed) <= after + 0.02  # the kernel counts in 10 ms
