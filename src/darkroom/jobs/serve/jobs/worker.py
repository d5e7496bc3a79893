"""Draws jobs in the background of a replica of the HTTP side, and those of replicas that are lost.

Every few seconds it looks at the open jobs and takes those that nobody holds: of owners with the
fewest jobs here first, then the oldest. A job's missing pictures are drawn through the same drawers
as requests, in the room that these leave (`spare.py`). A job whose lease is lost, by a cancellation
or to another, is dropped. Where the store fails, a job is left, and taken up again later.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from darkroom.errors import DarkroomError
from darkroom.jobs.drawing.picture_bytes import Sign
from darkroom.jobs.serve.admission import Admission
from darkroom.jobs.serve.api_error import ApiError
from darkroom.jobs.serve.config import ServeConfig
from darkroom.jobs.serve.drawers import Drawers, side_by_side
from darkroom.jobs.serve.jobs.drawing import draw
from darkroom.jobs.serve.jobs.lease import LEASE_SECONDS, RENEW_SECONDS, HeldLease, LeaseWatch, take
from darkroom.jobs.serve.jobs.pictures import JobPictures, KeptPicture
from darkroom.jobs.serve.jobs.place import JobsPlace, OpenJob
from darkroom.jobs.serve.jobs.publishing import finish, give_up
from darkroom.jobs.serve.jobs.records import AskedJob, PictureFault
from darkroom.jobs.serve.jobs.spare import SpareRoom

LOOK_SECONDS = 3.0
EXPIRY_SECONDS = 600.0
MAX_HELD = 4
"""Jobs that one replica draws side by side, so that a long one does not hold up all others."""
AGAIN_SECONDS = 10.0
"""A job that could not be gone on with is left alone for so long."""
NOT_YET_SECONDS = 1.0
"""An entry is written before its job."""
MAX_LOST = 10
"""So many holders in a row were lost with a job, and no picture was drawn: then it is given up."""

_log = logging.getLogger("darkroom.serve.jobs")


@dataclass(frozen=True)
class HeldJob:
    """A job that is drawn here."""

    entry: OpenJob
    lease: HeldLease


class JobsWorker:
    """One for each replica. stopping: whether nothing new is to be begun."""

    def __init__(
        self,
        place: JobsPlace,
        config: ServeConfig,
        drawers: Drawers,
        admission: Admission,
        *,
        stopping: Callable[[], bool],
        sign: Sign | None = None,
    ) -> None:
        self._place, self._drawers, self._stopping = place, drawers, stopping
        self._sign = sign
        self._at_once = config.jobs.at_once
        self._deadline_seconds = config.limits.deadline_seconds
        self._room = SpareRoom(admission, at_once=self._at_once)
        self._watch = LeaseWatch(place.store)
        self._held: dict[str, tuple[HeldJob, asyncio.Task[None]]] = {}
        self._not_before: dict[str, float] = {}
        self._look = asyncio.Event()
        self._said = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Draw jobs for as long as the context lasts; leaving it gives them back."""
        tasks = [asyncio.create_task(self._take_all()), asyncio.create_task(self._remove_all())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._give_back()

    def look(self) -> None:
        """There is a job to take."""
        self._look.set()

    def drop(self, job_id: str) -> None:
        """Stop drawing a job that has ended."""
        if job_id in self._held:
            self._held[job_id][1].cancel()

    async def _take_all(self) -> None:
        while True:
            self._look.clear()
            try:
                if self._stopping():
                    await self._give_back()
                else:
                    await asyncio.to_thread(self._place.check)
                    await self._take_jobs()
                self._said = ""
            except DarkroomError as error:
                if str(error) != self._said:  # once, and not every few seconds of an outage
                    _log.warning("jobs cannot be looked at: %s", error)
                self._said = str(error)
            except Exception:  # noqa: BLE001 - jobs must not end with one that is damaged
                _log.exception("jobs cannot be looked at")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _take_jobs(self) -> None:
        entries = await asyncio.to_thread(self._place.open_jobs)
        others = [entry for entry in entries if entry.id not in self._held]
        free = await asyncio.to_thread(self._watch.free, others)
        now = time.monotonic()
        self._not_before = {key: at for key, at in self._not_before.items() if at > now}
        free = [each for each in free if each[0].id not in self._not_before]
        while free and len(self._held) < MAX_HELD:
            held_of = Counter(job.entry.owner for job, _ in self._held.values())
            entry, seen = min(free, key=lambda each: (held_of[each[0].owner], each[0].id))
            free.remove((entry, seen))
            lease = await asyncio.to_thread(take, self._place.store, entry.key, seen)
            if lease is not None:
                job = HeldJob(entry, lease)
                task = asyncio.create_task(self._hold(job))
                self._held[entry.id] = (job, task)
                task.add_done_callback(partial(self._ended, entry.id))

    async def _remove_all(self) -> None:
        """What has been kept for long enough."""
        while True:
            try:
                await asyncio.to_thread(self._place.remove_expired, time.time())
            except DarkroomError as error:
                _log.warning("expired jobs cannot be removed: %s", error)
            await asyncio.sleep(EXPIRY_SECONDS)

    async def _give_back(self) -> None:
        tasks = [task for _, task in self._held.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hold(self, job: HeldJob) -> None:
        """Draw for as long as the lease is ours; then it is given back, unless the job ended."""
        drawing = asyncio.create_task(self._draw(job))
        renewing = asyncio.create_task(self._renew(job.lease))
        again: float | None = AGAIN_SECONDS
        try:
            await asyncio.wait({drawing, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if drawing.done():
                again = drawing.result()
        except DarkroomError as error:
            _log.warning("%s is left for now: %s", job.entry.id, error)
        except Exception:  # noqa: BLE001 - whatever it is, others are drawn
            _log.exception("%s is left for now", job.entry.id)
        finally:
            drawing.cancel()
            renewing.cancel()
            await asyncio.gather(drawing, renewing, return_exceptions=True)
            if again is not None:
                self._not_before[job.entry.id] = time.monotonic() + again
                giving = asyncio.to_thread(job.lease.give_back)
                await asyncio.gather(giving, return_exceptions=True)

    def _ended(self, job_id: str, _: asyncio.Task[None]) -> None:
        del self._held[job_id]
        self._look.set()

    async def _renew(self, lease: HeldLease) -> None:
        """Returns when the lease is lost."""
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                if not await asyncio.to_thread(lease.renew):
                    return
                renewed_at = time.monotonic()
            except DarkroomError as error:
                _log.warning("a lease could not be renewed: %s", error)
                if time.monotonic() - renewed_at > LEASE_SECONDS:
                    return

    async def _draw(self, job: HeldJob) -> float | None:
        """Draw what is missing, and end the job. Seconds after which to try again, if not now."""
        asked = await asyncio.to_thread(self._place.asked_at, job.entry.owner, job.entry.id)
        if asked is None:
            await asyncio.to_thread(self._place.drop_orphan, job.entry)
            return NOT_YET_SECONDS
        end = await asyncio.to_thread(self._place.end_of, asked)
        if end is not None:  # whoever ended it was lost before it could say so
            await asyncio.to_thread(self._place.settle, asked, end)
            return None
        pictures = JobPictures(self._place, asked)
        there = await asyncio.to_thread(pictures.committed)
        lease = job.lease.lease
        num_lost = lease.num_lost if len(there) <= lease.num_done else 0
        if num_lost >= MAX_LOST:
            await asyncio.to_thread(give_up, self._place, asked, list(there.values()))
            return None
        await asyncio.to_thread(job.lease.note, num_done=len(there), num_lost=num_lost)
        missing = deque(number for number in range(asked.num_pictures) if number not in there)
        await side_by_side(
            self._draw_some(asked, pictures, missing, there)
            for _ in range(min(self._at_once, len(missing)))
        )
        await asyncio.to_thread(finish, self._place, asked, there)
        return None

    async def _draw_some(
        self,
        asked: AskedJob,
        pictures: JobPictures,
        missing: deque[int],
        there: dict[int, KeptPicture],
    ) -> None:
        """Draw of the missing ones until there are none; what counts is put with the others."""
        while missing:
            number = missing.popleft()
            async with self._room.picture():
                drawn = await draw(
                    self._drawers,
                    asked,
                    number,
                    deadline_seconds=self._deadline_seconds,
                    sign=self._sign,
                )
            if isinstance(drawn, ApiError):
                fault = PictureFault.of(drawn)
                kept = await asyncio.to_thread(pictures.commit_fault, number, fault)
            else:
                kept = await asyncio.to_thread(
                    pictures.commit, number, drawn.data, drawn.facts, drawn.parents
                )
            there[number] = kept
