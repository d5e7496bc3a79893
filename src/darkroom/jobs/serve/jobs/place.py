"""Where jobs are kept: their objects by name, created once, and removed in an order.

All calls block. What each object is, `__init__.py` says. A job is there when its `job.json` is:
that is written last when it begins, and goes first when it is removed. A job that has no `end.json`
has an entry under `open/`, one that has ended has one under `kept/`; a crash in between leaves it
with the first, and whoever takes that up does the rest. One that is removed has one under `kept/`
until nothing more is found of it: whoever draws it may learn of its end late, and writes meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from darkroom.errors import (
    ConfigError,
    IntegrityError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageAccessError,
)
from darkroom.jobs.serve.jobs.lease import JobLease
from darkroom.jobs.serve.jobs.records import (
    JOB_ID,
    AskedJob,
    JobEnd,
    from_bytes,
    made_at,
    owner_segment,
    to_bytes,
)
from darkroom.storage import ObjectStore, Uri, open_store, parse_uri
from darkroom.storage.manifest import decode_json, encode_json
from darkroom.storage.probe import require_conditional_writes

OPEN_PREFIX = "open/"
KEPT_PREFIX = "kept/"
_KEYS_PREFIX = "keys/"
_IDEMPOTENCY_PREFIX = "idempotency/"
_ORPHAN_SECONDS = 3600.0
"""An entry without a job is a crash's, not of one that is being written; clocks may differ."""
_AGAIN_SECONDS = 3600.0
"""A job that was removed is looked for again after so long: whoever drew it has stopped, and what
was being uploaded is there; clocks may differ."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenJob:
    """An entry under `open/`."""

    id: str
    owner: str
    """As `owner_segment` has it."""
    mark: object
    """Changes when the entry does."""

    @property
    def key(self) -> str:
        return f"{OPEN_PREFIX}{self.id}.{self.owner}.json"


class JobsPlace:
    """The jobs below one URI. days: how long one is kept after its end."""

    def __init__(self, place: str, *, days: float) -> None:
        """Errors: UriError and ConfigError for what cannot be written to."""
        self.root = parse_uri(place, field="jobs.place")
        if self.root.anonymous:
            raise ConfigError(
                "jobs.place", place, "cannot be written to by an anonymous user",
                "drop 'anonymous@'",
            )  # fmt: skip
        self._store = open_store(self.root)
        self._days = days

    @property
    def store(self) -> ObjectStore:
        return self._store

    def check(self) -> None:
        """Errors: StorageAccessError where two writers could both win, or none may write."""
        require_conditional_writes(self._store)

    def folder(self, asked: AskedJob) -> Uri:
        """Where the job's own objects lie; the artifact's URI."""
        return self.root / _folder(owner_segment(asked.owner), asked.id).removesuffix("/")

    # What was asked.

    def asked(self, owner: str, job_id: str) -> AskedJob | None:
        """The job of that id, if it is this owner's. owner: the key's name."""
        found = self.asked_at(owner_segment(owner), job_id)
        return found if found is not None and found.owner == owner else None

    def asked_at(self, segment: str, job_id: str) -> AskedJob | None:
        """The job in that owner's folder."""
        if JOB_ID.fullmatch(job_id) is None:
            return None
        return self._read(AskedJob, f"{_folder(segment, job_id)}job.json")

    def write(self, asked: AskedJob) -> tuple[AskedJob, bool]:
        """Make the job; the one that counts, and whether it is this one."""
        self.reopen(asked)
        return self._create(AskedJob, asked, f"{_folder_of(asked)}job.json")

    def ids(self, owner: str) -> list[str]:
        """Of all jobs of an owner, newest first."""
        prefix = f"{_KEYS_PREFIX}{owner_segment(owner)}/"
        names = (name.removesuffix("/") for name, _ in self._store.children(prefix))
        return sorted((name for name in names if JOB_ID.fullmatch(name)), reverse=True)

    # Jobs that have not ended.

    def open_jobs(self) -> list[OpenJob]:
        """All of them, oldest first."""
        found = []
        for info in self._store.list(OPEN_PREFIX):
            name, _, rest = info.key.removeprefix(OPEN_PREFIX).partition(".")
            owner = rest.removesuffix(".json")
            if JOB_ID.fullmatch(name) and owner != rest:
                found.append(OpenJob(name, owner, (info.etag, info.modified, info.size)))
        return sorted(found, key=lambda job: job.id)

    def reopen(self, asked: AskedJob) -> None:
        """Give it an entry, if it has none."""
        entry = open_entry(asked)
        try:
            self._put(entry.key, JobLease().to_json(), if_none_match=True)
        except PreconditionFailedError:
            return

    def lease(self, asked: AskedJob) -> JobLease | None:
        """Who draws it; None where it has no entry."""
        try:
            return JobLease.parse(self._store.get(open_entry(asked).key))
        except ObjectNotFoundError:
            return None

    def drop_orphan(self, entry: OpenJob) -> None:
        """Of an entry without a job: remove it, if it has been so for long."""
        if time.time() - made_at(entry.id) > _ORPHAN_SECONDS:
            self._store.delete([entry.key])

    # The end, and after it.

    def end_of(self, asked: AskedJob) -> JobEnd | None:
        """How it ended, if it has."""
        return self._read(JobEnd, f"{_folder_of(asked)}end.json")

    def end(self, asked: AskedJob, make: Callable[[int, int], JobEnd]) -> JobEnd:
        """End it; how it ended, which is another's doing where that came first.

        make: is given the time of the end and of the removal.
        """
        now = int(time.time())
        mine = make(now, now + max(1, int(self._days * 86_400)))
        counts, _ = self._create(JobEnd, mine, f"{_folder_of(asked)}end.json")
        self.settle(asked, counts)
        return counts

    def settle(self, asked: AskedJob, end: JobEnd) -> None:
        """What follows from the end: its entry moves from `open/` to `kept/`."""
        key = _kept_key(end.expires_at, asked.id, owner_segment(asked.owner))
        self._put(key, _kept_note(asked.idempotency))
        self._store.delete([open_entry(asked).key])

    def remove(self, asked: AskedJob, end: JobEnd) -> None:
        """Remove a job that has ended. What a crash leaves, or who still draws it, goes later."""
        owner = owner_segment(asked.owner)
        key = _kept_key(end.expires_at, asked.id, owner)
        self._remove(owner, asked.id, asked.idempotency, key, time.time())

    def remove_expired(self, now: float) -> int:
        """Remove what has been kept for long enough; how many entries that was."""
        expired = [info.key for info in self._store.list(KEPT_PREFIX) if _expires(info.key) <= now]
        for key in expired:
            _, job_id, owner, _ = key.removeprefix(KEPT_PREFIX).split(".")
            try:
                note = decode_json(self._store.get(key), uri=str(self.root / key), what="note")
            except ObjectNotFoundError:  # another replica was faster
                continue
            except IntegrityError:
                note = {}
            self._remove(owner, job_id, note.get("idempotency"), key, now)
        return len(expired)

    def _remove(
        self, owner: str, job_id: str, idempotency: str | None, kept_key: str, now: float
    ) -> None:
        """Remove all of a job; without a later entry only once there was nothing in its folder."""
        folder = _folder(owner, job_id)
        entries = {f"{OPEN_PREFIX}{job_id}.{owner}.json", kept_key}
        if any(True for _ in self._store.list(folder)):
            again = _kept_key(int(now + _AGAIN_SECONDS), job_id, owner)
            self._put(again, _kept_note(idempotency))
            entries.discard(again)
        if idempotency is not None:  # first: it must never lead to a job that is half gone
            self._drop_idempotency(owner, idempotency, job_id)
        self._store.delete([f"{folder}job.json"])
        self._store.delete([info.key for info in self._store.list(folder)])
        self._store.delete(sorted(entries))

    def _drop_idempotency(self, owner: str, digest: str, job_id: str) -> None:
        """Unless it leads to another job by now, which the same key has made since."""
        key = _idempotency_key(owner, digest)
        try:
            note = decode_json(self._store.get(key), uri=str(self.root / key), what="note")
        except ObjectNotFoundError:
            return
        except IntegrityError:  # it leads nowhere
            note = {"job": job_id}
        if note.get("job") == job_id:
            self._store.delete([key])

    # Idempotency keys.

    def idempotency_key(self, owner: str, digest: str) -> str:
        """The object that says which job an Idempotency-Key has made."""
        return _idempotency_key(owner_segment(owner), digest)

    # Objects.

    def _read(self, wanted: type[T], key: str) -> T | None:
        try:
            return from_bytes(wanted, self._store.get(key), uri=str(self.root / key))
        except ObjectNotFoundError:
            return None

    def _create(self, wanted: type[T], value: T, key: str) -> tuple[T, bool]:
        """Write it, unless there is one: the one that counts, and whether it is this one."""
        try:
            self._put(key, to_bytes(value), if_none_match=True)
        except PreconditionFailedError:
            there = from_bytes(wanted, self._store.get(key), uri=str(self.root / key))
            return there, there == value  # our own write, whose answer was lost
        return value, True

    def _put(self, key: str, data: bytes, *, if_none_match: bool = False) -> None:
        try:
            self._store.put(key, data, if_none_match=if_none_match)
        except StorageAccessError:
            if self.root.scheme != "file":
                raise
            # A folder that became empty goes, perhaps at the moment in which it is written to.
            self._store.put(key, data, if_none_match=if_none_match)


def open_entry(asked: AskedJob) -> OpenJob:
    """The job's entry under `open/`."""
    return OpenJob(asked.id, owner_segment(asked.owner), None)


def _folder(owner: str, job_id: str) -> str:
    return f"{_KEYS_PREFIX}{owner}/{job_id}/"


def _folder_of(asked: AskedJob) -> str:
    return _folder(owner_segment(asked.owner), asked.id)


def _kept_key(expires_at: int, job_id: str, owner: str) -> str:
    return f"{KEPT_PREFIX}{expires_at:012d}.{job_id}.{owner}.json"


def _kept_note(idempotency: str | None) -> bytes:
    return encode_json({"idempotency": idempotency})


def _expires(key: str) -> float:
    """When a job under `kept/` is to go; never, for what has another's name."""
    parts = key.removeprefix(KEPT_PREFIX).split(".")
    is_ours = len(parts) == 4 and parts[0].isdecimal() and JOB_ID.fullmatch(parts[1])
    return int(parts[0]) if is_ours else float("inf")


def _idempotency_key(owner: str, digest: str) -> str:
    return f"{_IDEMPOTENCY_PREFIX}{owner}/{digest}.json"
