"""Who draws a job: one object, moved by compare-and-swap, and a time limit without a common clock.

A lease lapses when it has not moved for LEASE_SECONDS by the clock of whoever looks at it, so no
two machines' clocks are compared. It keeps work from being done twice and nothing else: two who
believe that they hold it draw the same pictures, and of each one counts.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Protocol, Self, TypeVar

from darkroom.errors import IntegrityError, ObjectNotFoundError, PreconditionFailedError
from darkroom.storage import ObjectStore
from darkroom.storage.manifest import decode_json, encode_json, typed

_log = logging.getLogger("darkroom.serve.jobs")

LEASE_SECONDS = 15.0
RENEW_SECONDS = 4.0


def new_holder() -> str:
    """Names one taking: host, process, and what tells it from every other."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class JobLease:
    """What the object says."""

    holder: str | None = None
    """None: nobody draws it."""
    num_renewals: int = 0
    num_lost: int = 0
    """How often in a row its holder was lost without having drawn a picture."""
    num_done: int = 0
    """Pictures that were there when it was last taken."""

    def to_json(self) -> bytes:
        return encode_json(asdict(self))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Errors: IntegrityError."""
        values = decode_json(data, uri="a job's entry", what="lease")
        try:
            return typed(cls, values)
        except TypeError as error:
            raise IntegrityError(f"a job's entry is no lease of ours ({error})") from None


class HeldLease:
    """A lease that this process holds. Its calls block, and may come from several threads."""

    def __init__(self, store: ObjectStore, key: str, lease: JobLease, etag: str) -> None:
        self._store, self._key = store, key
        self._lease, self._etag = lease, etag
        self._lock = threading.Lock()

    @property
    def lease(self) -> JobLease:
        return self._lease

    def renew(self) -> bool:
        """Whether it is still ours; not when another has it, or the job has ended."""
        with self._lock:
            return self._move(replace(self._lease, num_renewals=self._lease.num_renewals + 1))

    def note(self, *, num_done: int, num_lost: int) -> bool:
        """As `renew`, and write down how far the job is."""
        with self._lock:
            return self._move(replace(self._lease, num_done=num_done, num_lost=num_lost))

    def give_back(self) -> None:
        """Let another go on at once."""
        with self._lock:
            self._move(replace(self._lease, holder=None, num_lost=0))

    def _move(self, wanted: JobLease) -> bool:
        data = wanted.to_json()
        try:
            etag = self._store.put(self._key, data, if_match=self._etag)
        except PreconditionFailedError:
            try:
                found, etag = self._store.get_with_etag(self._key)
            except ObjectNotFoundError:
                return False
            if found != data:  # else it was our own write, whose answer was lost
                return False
        self._lease, self._etag = wanted, etag
        return True


def take(store: ObjectStore, key: str, seen: JobLease) -> HeldLease | None:
    """Take a lease that is as it was seen; None where it is not, or another was faster."""
    try:
        data, etag = store.get_with_etag(key)
    except ObjectNotFoundError:
        return None
    if JobLease.parse(data) != seen:
        return None
    lost = seen.num_lost + (seen.holder is not None)
    held = HeldLease(store, key, seen, etag)
    mine = replace(seen, holder=new_holder(), num_renewals=0, num_lost=lost)
    return held if held._move(mine) else None  # noqa: SLF001 - its own module


class LeasedEntry(Protocol):
    """What is watched."""

    @property
    def key(self) -> str: ...
    @property
    def mark(self) -> object:
        """Changes when the object does."""


EntryT = TypeVar("EntryT", bound=LeasedEntry)


class LeaseWatch:
    """Which of the open jobs may be taken: by looking at them again and again."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._seen: dict[str, tuple[object, JobLease, float]] = {}
        """Key -> its mark, what it said, and since when."""

    def free(self, entries: Iterable[EntryT]) -> list[tuple[EntryT, JobLease]]:
        """Those that nobody holds, or whose holder is lost, with what they say."""
        found = []
        seen: dict[str, tuple[object, JobLease, float]] = {}
        for entry in entries:
            known = self._seen.get(entry.key)
            if known is None or known[0] != entry.mark:
                try:
                    lease = JobLease.parse(self._store.get(entry.key))
                except ObjectNotFoundError:
                    continue
                except IntegrityError as error:  # others must not wait for it
                    _log.warning("%s is left alone: %s", entry.key, error)
                    continue
                known = (entry.mark, lease, self._clock())
            seen[entry.key] = known
            _, lease, since = known
            if lease.holder is None or self._clock() - since >= LEASE_SECONDS:
                found.append((entry, lease))
        self._seen = seen
        return found
