"""Keeps a run's goodput account where the next driver finds it: one small object per driver.

`<output>/goodput/<driver>.json` is written by its own driver alone, every few seconds and with
every attempt and checkpoint, so no write needs to be conditional, and a driver that is killed
leaves its account up to a few seconds before. The published model's manifest takes the whole
account in; the records are deleted after that.

The account must never hold a run up: writing happens in a thread, and a failure says nothing.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import psutil

from darkroom.errors import DarkroomError, ObjectNotFoundError
from darkroom.jobs.artifacts import Kind
from darkroom.jobs.artifacts.model import OutOfMemory, TrainedInfo
from darkroom.jobs.leftovers import remove_leftovers
from darkroom.jobs.training.goodput import Attempt, GoodputAccount
from darkroom.jobs.training.memory_events import joined
from darkroom.storage import PointerState, RunPointer, open_artifact, open_store, parse_uri
from darkroom.storage.manifest import GOODPUT_PREFIX

logger = logging.getLogger(__name__)

RECORD_SECONDS = 5.0
"""At most so much of a killed driver's account is missing; it then counts as lost."""


def worker_seconds_of(output: str) -> float:
    """What a run has cost so far, by its model or, where none is published, by its records.

    A record that cannot be read counts nothing. Errors: those of storage.
    """
    try:
        account = TrainedInfo.found(open_artifact(output, kind=Kind.MODEL)).account
    except ObjectNotFoundError:
        pass
    else:
        return 0.0 if account is None else account.total_worker_seconds
    store, total = open_store(output), 0.0
    for info in store.list(GOODPUT_PREFIX):
        with suppress(ValueError, KeyError, TypeError, ObjectNotFoundError):
            attempts = json.loads(store.get(info.key))["attempts"]
            total += sum(sum(attempt["seconds"].values()) for attempt in attempts)
    return total


class AccountRecords:
    """One driver's view of the records: reads the others', writes its own."""

    def __init__(self, pointer: RunPointer) -> None:
        output = parse_uri(str(pointer.output), field="output")
        self._store = open_store(output / GOODPUT_PREFIX.rstrip("/"))
        self._driver = pointer.owner
        self._run = _run_key(pointer.state)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="goodput")
        self._pending: Future[None] | None = None
        self._written_at = 0.0
        self._written = (0, 0, 0, 0)
        self.out_of_memory: tuple[OutOfMemory, ...] = ()
        """What ended attempts of this run, the earlier drivers' too."""

    def earlier(self) -> list[Attempt]:
        """The attempts of this run's other drivers; what cannot be read is left out, and said.

        What memory did not suffice for is then known as well.
        """
        found: list[Attempt] = []
        for key in self._keys():
            try:
                record = json.loads(self._store.get(key))
                if record["run"] == self._run and record["driver"] != self._driver:
                    found += [Attempt.from_dict(values) for values in record["attempts"]]
                    events = [OutOfMemory(**values) for values in record.get("out_of_memory", ())]
                    self.out_of_memory = tuple(joined(self.out_of_memory, events))
            except (DarkroomError, ValueError, KeyError, TypeError) as error:
                logger.warning("%s/%s is left out: %s", self._store.root, key, error)
        return found

    def write(self, account: GoodputAccount, checkpoint_step: int = 0) -> None:
        """Write in the background when it is time, or when something else than time has changed."""
        events = len(self.out_of_memory)
        state = (len(account.own), account.own[-1].first_step, checkpoint_step, events)
        due = time.monotonic() - self._written_at >= RECORD_SECONDS or state != self._written
        if not due or (self._pending is not None and not self._pending.done()):
            return
        self._written_at, self._written = time.monotonic(), state
        self._pending = self._executor.submit(self._put, self._record(account))

    def close(self, account: GoodputAccount) -> None:
        """Write the last word and end the thread."""
        self._executor.submit(self._put, self._record(account))
        self._executor.shutdown(wait=True)

    def delete(self) -> None:
        """Remove all records: the published manifest has them."""
        self._executor.shutdown(wait=True)
        remove_leftovers(self._store, self._keys(), "the goodput account's records are not removed")

    def _keys(self) -> list[str]:
        try:
            return [info.key for info in self._store.list()]
        except DarkroomError as error:
            logger.warning("the goodput account's records cannot be listed: %s", error)
            return []

    def _record(self, account: GoodputAccount) -> bytes:
        attempts = [attempt.to_dict() for attempt in account.own]
        events = [asdict(event) for event in self.out_of_memory]
        record = {
            "run": self._run, "driver": self._driver, "attempts": attempts, "out_of_memory": events
        }  # fmt: skip
        return json.dumps(record, indent=1).encode()

    def _put(self, record: bytes) -> None:
        try:
            self._store.put(f"{self._driver}.json", record)
        except DarkroomError as error:
            # What is wrong with the store ends the run by itself, and is said then.
            logger.debug("the goodput account could not be written: %s", error)


def _run_key(state: PointerState) -> str:
    """The same for all drivers of one run, another for a run that overwrites it."""
    parents = sorted(parent.digest for parent in state.parents)
    return " ".join([state.config_digest, *parents, state.supersedes or ""])


def command_began_at() -> float:
    """Wall clock when this run began: the process's own start where it is `darkroom`'s.

    Inside another program a run begins when it is called.
    """
    program = Path(sys.argv[0])
    if program.name == "darkroom" or program.parts[-2:] == ("darkroom", "__main__.py"):
        return _own_start()
    return time.time()


def _own_start() -> float:
    """Wall clock when this process was started."""
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return min(time.time(), float(psutil.Process().create_time()))
    # Linux gives the boot's time of day, which psutil counts from, in whole seconds: up to one
    # second of every run would be invented. Both of these count from the boot itself.
    ticks = int(stat.read_text().rpartition(")")[2].split()[19])  # proc_pid_stat(5): starttime
    after_boot = ticks / os.sysconf("SC_CLK_TCK")
    # Nothing between the two clocks: a busy machine may stop a process anywhere.
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + after_boot
