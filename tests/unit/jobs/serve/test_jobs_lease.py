"""Who may draw a job, and when: leases, room beside requests, folders of owners."""

from __future__ import annotations

import asyncio

import pytest
from tests.helpers.serving import eventually

from darkroom.jobs.serve.admission import Admission
from darkroom.jobs.serve.config import RequestLimits
from darkroom.jobs.serve.jobs.lease import JobLease, LeaseWatch, take
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.jobs.records import owner_segment
from darkroom.jobs.serve.jobs.spare import SpareRoom


@pytest.mark.usefixtures("quick_jobs")
def test_a_lease_is_taken_by_one_and_lapses_by_the_watchers_clock(store_uri: str) -> None:
    place, now = JobsPlace(store_uri, days=1), [0.0]
    key = f"open/job_{'1' * 32}.anyone.json"
    place.store.put(key, JobLease().to_json())
    watch = LeaseWatch(place.store, clock=lambda: now[0])
    ((_, seen),) = watch.free(place.open_jobs())
    held, second = take(place.store, key, seen), take(place.store, key, seen)
    assert held is not None
    assert second is None
    for _ in range(4):
        assert watch.free(place.open_jobs()) == []
        now[0] += 0.6
        assert held.renew()
    assert watch.free(place.open_jobs()) == []
    now[0] += 1.1
    ((_, lapsed),) = watch.free(place.open_jobs())
    newer = take(place.store, key, lapsed)
    assert newer is not None
    assert newer.lease.num_lost == 1
    assert not held.renew()
    held.give_back()
    assert newer.renew()
    newer.give_back()
    ((_, given),) = watch.free(place.open_jobs())
    assert (given.holder, given.num_lost) == (None, 0)


def test_pictures_of_jobs_leave_room_for_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        door = Admission(RequestLimits(max_waiting_work=10.0))
        room = SpareRoom(door, at_once=2)
        inside = 0

        async def draw(release: asyncio.Event) -> None:
            nonlocal inside
            async with room.picture():
                inside += 1
                await release.wait()
                inside -= 1

        async def settled() -> int:
            for _ in range(100):  # all that is awaited here goes on by turns of the loop
                await asyncio.sleep(0)
            return inside

        ends = [asyncio.Event() for _ in range(4)]
        tasks = [asyncio.create_task(draw(end)) for end in ends]
        assert await settled() == 2, "two at a time while nothing else is drawn"
        with door.admitted("ann", 4.0):
            ends[0].set()
            assert await settled() == 1, "beside a request one"
            ends[1].set()
            assert await settled() == 1
        assert await settled() == 2, "the request has ended"
        ends[2].set()
        ends[3].set()
        await asyncio.gather(*tasks)
        end = asyncio.Event()
        with door.admitted("ann", 6.0):
            flooded = asyncio.create_task(draw(end))
            assert await settled() == 0, "requests fill half of the room"
            flooded.cancel()
            await asyncio.gather(flooded, return_exceptions=True)
            monkeypatch.setattr("darkroom.jobs.serve.jobs.spare.WAIT_SECONDS", 0.05)
            patient = asyncio.create_task(draw(end))
            await eventually(lambda: inside == 1)  # it has waited for long enough
            end.set()
            await patient

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["Ann", "a.b", "../x", "\u00e4", "a/b", "x" * 64, "~x", ""])
def test_odd_names_of_keys_have_folders_of_their_own(name: str) -> None:
    segment = owner_segment(name)
    assert segment.startswith("~")
    assert "." not in segment
    assert "/" not in segment
    assert owner_segment(segment) != segment
    assert owner_segment("team-a") == "team-a"
