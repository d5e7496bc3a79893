"""Jobs that are removed: nothing of them stays, whoever still writes and wherever it breaks off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tests.helpers.serving import FakeDrawers, eventually
from tests.helpers.serving_jobs import PATH, SEVEN, SlowDrawers, keys_of, replica

from darkroom.errors import StorageError
from darkroom.jobs.serve.jobs.place import JobsPlace

HOUR = 3600.0


@pytest.fixture(autouse=True)
def quick_but_for_what_is_removed(quick_jobs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked for again but by the tests, which say what time it is."""
    monkeypatch.setattr("darkroom.jobs.serve.jobs.place._AGAIN_SECONDS", HOUR)


def test_pictures_that_are_kept_after_the_removal_are_removed_too(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever draws learns of the end at its next renewal, and has kept pictures meanwhile."""
    monkeypatch.setattr("darkroom.jobs.serve.jobs.worker.RENEW_SECONDS", 3600.0)

    async def scenario() -> None:
        drawers = SlowDrawers(most=1)
        async with (
            replica(store_uri, drawers) as holder,
            replica(store_uri, FakeDrawers(), idle=True) as other,
        ):
            job = (await holder.post({**SEVEN, "n": 9}, "k")).json()["id"]
            await holder.until(job, "running", done=1)
            cancelled = await other.client.delete(f"{PATH}/{job}")
            assert cancelled.json()["status"] == "cancelled"
            removed = await other.client.delete(f"{PATH}/{job}")
            assert removed.json()["deleted"] is True
            assert keys_of(store_uri, job) == keys_of(store_uri, "kept/")
            drawers.most = 4
            await eventually(lambda: len(keys_of(store_uri, "/commits/")) >= 2)
            holder.worker.drop(job)
            await eventually(lambda: not holder.worker._held)
            assert keys_of(store_uri, ".png"), "as many as it had kept by then"
            for path in (f"{PATH}/{job}", f"{PATH}/{job}/pictures/0"):
                assert (await other.client.get(path)).status_code == 404

    asyncio.run(scenario())
    place, now = JobsPlace(store_uri, days=1), time.time()
    place.remove_expired(now)
    assert keys_of(store_uri, ".png"), "not before it must have stopped"
    place.remove_expired(now + 2 * HOUR)
    assert keys_of(store_uri) == keys_of(store_uri, "kept/"), "it is looked for once more"
    place.remove_expired(now + 4 * HOUR)
    assert keys_of(store_uri) == []


def breaking_off(
    delete: Callable[[Iterable[str]], None], after: int
) -> Callable[[Iterable[str]], None]:
    """A store's `delete` whose process dies after so many calls."""
    left = after

    def dying(keys: Iterable[str]) -> None:
        nonlocal left
        if left == 0:
            raise StorageError("it died here")
        left -= 1
        delete(keys)

    return dying


@pytest.mark.parametrize("after", range(4))
def test_a_removal_that_breaks_off_is_finished_later(
    after: int, local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with replica(local_uri, FakeDrawers()) as one:
            job = (await one.post(SEVEN, "k")).json()["id"]
            await one.until(job, "completed")
            await eventually(lambda: not one.worker._held)
        place = JobsPlace(local_uri, days=1)
        asked = place.asked("anyone", job)
        assert asked is not None
        end = place.end_of(asked)
        assert end is not None
        monkeypatch.setattr(place.store, "delete", breaking_off(place.store.delete, after))
        with pytest.raises(StorageError):
            place.remove(asked, end)
        now = time.time()
        for hours in (2, 4, 6):
            JobsPlace(local_uri, days=1).remove_expired(now + hours * HOUR)
        left = keys_of(local_uri)
        assert [key for key in left if not key.startswith("kept/")] == []
        JobsPlace(local_uri, days=1).remove_expired(end.expires_at + HOUR)
        assert keys_of(local_uri) == []

    asyncio.run(scenario())


def test_what_is_removed_again_leaves_a_later_job_of_its_idempotency_key(store_uri: str) -> None:
    async def scenario() -> None:
        async with replica(store_uri, FakeDrawers(), idle=True) as one:
            first = (await one.post(SEVEN, "k")).json()["id"]
            for _ in range(2):
                await one.client.delete(f"{PATH}/{first}")
            later = (await one.post(SEVEN, "k")).json()["id"]
            assert later != first
            JobsPlace(store_uri, days=1).remove_expired(time.time() + 2 * HOUR)
            again: Any = await one.post(SEVEN, "k")
            assert (again.status_code, again.json()["id"]) == (200, later)

    asyncio.run(scenario())
