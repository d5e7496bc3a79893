"""Jobs that are drawn in the background: each picture once, whoever is lost, cancelled or late."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.serving import FakeDrawers, client_of, eventually
from tests.helpers.serving_jobs import (
    AT_ONCE,
    PATH,
    SEVEN,
    Replica,
    SlowDrawers,
    keys_of,
    replica,
)

from darkroom.errors import ClosingError, DarkroomError, StorageError
from darkroom.jobs.serve.drawers import Drawn
from darkroom.jobs.serve.jobs import lease as leases
from darkroom.jobs.serve.jobs.lease import JobLease
from darkroom.jobs.serve.jobs.pictures import JobPictures, KeptPicture
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.request import Drawing, DrawRequest
from darkroom.storage import open_artifact, open_store

pytestmark = pytest.mark.usefixtures("quick_jobs")


def each_once(place: str, job: dict[str, Any]) -> None:
    """Every picture has one record and one file, and the artifact names just these."""
    assert [each["picture"] for each in job["data"]] == list(range(job["n"]))
    assert len(keys_of(place, "/commits/")) == job["n"]
    (manifest,) = keys_of(place, "manifest.json")
    artifact = open_artifact(f"{place}/{manifest.removesuffix('/manifest.json')}")
    assert [entry.name for entry in artifact.manifest.files] == [
        f"pictures/{number:05d}.png" for number in range(job["n"])
    ]
    assert len({entry.key for entry in artifact.manifest.files}) == job["n"]
    artifact.verify()


def test_a_lost_replicas_job_is_taken_over_and_only_what_is_missing_is_drawn(
    store_uri: str,
) -> None:
    async def scenario() -> None:
        first, second = SlowDrawers(most=6), SlowDrawers()
        async with replica(store_uri, first) as one, replica(store_uri, second, idle=True) as two:
            job = (await one.post({**SEVEN, "n": 20})).json()["id"]
            await one.until(job, "running", done=6)
            await one.lose()
            lost_at = time.monotonic()
            async with two.api.jobs.running():
                done = await two.until(job, "completed")
            assert time.monotonic() - lost_at >= 0.9, "the lease had not lapsed yet"
            each_once(store_uri, done)
            assert second.drew(20, first)
            assert len(first.drawn) < 10

    asyncio.run(scenario())


def test_a_replica_that_stops_hands_its_jobs_over_at_once(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.jobs.serve.jobs.lease.LEASE_SECONDS", 3600.0)

    async def scenario() -> None:
        first, second = SlowDrawers(most=3), SlowDrawers()
        async with replica(store_uri, first) as one:
            job = (await one.post({**SEVEN, "n": 8})).json()["id"]
            await one.until(job, "running", done=3)
            one.api.draining = True
            assert (await one.until(job, "queued"))["progress"]["done"] < 8
            async with replica(store_uri, second) as two:
                each_once(store_uri, await two.until(job, "completed"))
        assert second.drew(8, first)

    asyncio.run(scenario())


def test_after_a_restart_of_everything_jobs_go_on(store_uri: str) -> None:
    async def scenario() -> None:
        drawers = SlowDrawers(most=2)
        async with replica(store_uri, drawers) as one:
            ids = [(await one.post({**SEVEN, "n": 4})).json()["id"] for _ in range(3)]
            await eventually(lambda: len(drawers.drawn) >= 2)
        drawers.most = None
        async with replica(store_uri, drawers) as again:
            for job in ids:
                assert (await again.until(job, "completed"))["progress"]["done"] == 4
        assert set(drawers.drawn) == set(range(4))
        assert len(drawers.drawn) <= 12 + 2

    asyncio.run(scenario())


def test_two_that_draw_the_same_job_keep_each_picture_once(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both believe that they hold it: the lease saves work, and decides nothing."""

    class Everybodys(leases.HeldLease):
        def renew(self) -> bool:
            return True

        def note(self, *, num_done: int, num_lost: int) -> bool:  # noqa: ARG002
            return True

        def give_back(self) -> None:
            return None

    def given(store: Any, key: str, seen: JobLease) -> leases.HeldLease:
        return Everybodys(store, key, seen, "")

    monkeypatch.setattr("darkroom.jobs.serve.jobs.worker.take", given)

    async def scenario() -> None:
        first, second = SlowDrawers(most=0), SlowDrawers(most=0)
        async with (
            replica(store_uri, first, idle=True) as one,
            replica(store_uri, second, idle=True) as two,
        ):
            job = (await one.post({**SEVEN, "n": 10})).json()["id"]
            async with one.api.jobs.running(), two.api.jobs.running():
                # Neither has kept a picture when the other looks which are missing.
                await eventually(lambda: first.waiting == second.waiting == AT_ONCE)
                first.most = second.most = None
                done = await one.until(job, "completed")
                await eventually(lambda: len(first.asked) + len(second.asked) == 20)
                await eventually(lambda: not one.worker._held and not two.worker._held)
        each_once(store_uri, done)
        assert len(keys_of(store_uri, ".png")) == 10, "the loser's files are left"

    asyncio.run(scenario())


@pytest.mark.parametrize("by_holder", [True, False])
def test_a_cancelled_job_stops_at_the_next_step_and_is_removed_when_asked_again(
    by_holder: bool, store_uri: str
) -> None:
    async def scenario() -> None:
        drawers = SlowDrawers(most=2)
        async with (
            replica(store_uri, drawers) as one,
            replica(store_uri, FakeDrawers(), idle=True) as two,
        ):
            body = {**SEVEN, "n": 50, "steps": 10}
            job = (await one.post(body, "k")).json()["id"]
            await one.until(job, "running", done=2)
            await eventually(lambda: drawers.waiting == 2)
            asker = one if by_holder else two
            cancelled = (await asker.client.delete(f"{PATH}/{job}")).json()
            assert cancelled["status"] == "cancelled"
            await eventually(lambda: not one.worker._held)
            assert drawers.stopped == 2
            assert len(drawers.drawn) < 5
            there = await one.job(job)
            assert there["progress"]["done"] == len(there["data"]) >= 2
            assert (await two.client.get(there["data"][0]["url"])).status_code == 200
            missing = await one.client.get(f"{PATH}/{job}/pictures/49")
            assert missing.json()["error"]["message"].endswith("was not drawn")
            removed = await asker.client.delete(f"{PATH}/{job}")
            assert removed.json()["deleted"] is True
            for path in (f"{PATH}/{job}", there["data"][0]["url"]):
                assert (await two.client.get(path)).status_code == 404
            assert keys_of(store_uri) == keys_of(store_uri, "kept/"), "to be looked for again"
            assert (await one.post(body, "k")).json()["id"] != job

    asyncio.run(scenario())


def test_jobs_are_removed_when_their_days_are_over(store_uri: str) -> None:
    async def scenario() -> None:
        async with (
            replica(store_uri, FakeDrawers(), jobs={"days": 3e-5}) as short,
            replica(store_uri, FakeDrawers(), idle=True) as looking,
        ):
            job = (await short.post(SEVEN, "k")).json()["id"]
            address = f"{PATH}/{job}"
            while (await looking.client.get(address)).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await eventually(lambda: keys_of(store_uri) == [])
            assert (await looking.client.get(PATH)).json()["data"] == []

    asyncio.run(scenario())


class Faulty(SlowDrawers):
    """Pictures 1 and 2 of a job fail: one for ever, one twice."""

    async def draw(self, request: DrawRequest, /) -> AsyncGenerator[Drawn]:
        async for item in super().draw(request):
            if isinstance(item, Drawing):
                self.tries = Counter(each.index for each in self.asked)
                if request.index == 1:
                    yield replace(item, flagged=True)
                    return
                if request.index == 2 and self.tries[2] < 3:
                    raise ClosingError("the service is stopping")
            yield item


def test_a_picture_that_cannot_be_drawn_is_told_and_others_are_drawn(store_uri: str) -> None:
    async def scenario() -> None:
        drawers = Faulty()
        async with replica(store_uri, drawers) as one:
            job = (await one.post({**SEVEN, "n": 4})).json()["id"]
            failed = await one.until(job, "failed")
            assert failed["progress"] == {"total": 4, "done": 3, "failed": 1}
            assert failed["error"]["code"] == "moderation_blocked"
            assert failed["error"]["type"] == "invalid_request_error"
            assert failed["data"][1]["error"] == failed["error"]
            assert [each["picture"] for each in failed["data"]] == [0, 1, 2, 3]
            told = await one.client.get(f"{PATH}/{job}/pictures/1")
            assert (told.status_code, told.json()["error"]["code"]) == (404, "moderation_blocked")
            assert (await one.client.get(f"{PATH}/{job}/pictures/2")).status_code == 200
            assert drawers.tries == {0: 1, 1: 1, 2: 3, 3: 1}
            assert failed["artifact_digest"]

    asyncio.run(scenario())


def test_what_a_drawing_raises_is_tried_a_few_times_and_then_told(local_uri: str) -> None:
    async def scenario() -> None:
        drawers = FakeDrawers(fault=RuntimeError("secret"))
        async with replica(local_uri, drawers) as one:
            job = (await one.post(SEVEN)).json()["id"]
            failed = await one.until(job, "failed")
            assert failed["error"]["code"] == "internal_error"
            assert "secret" not in str(failed)
            assert len(drawers.asked) == 5
            drawers.fault = DarkroomError("no numbers")
            job = (await one.post(SEVEN)).json()["id"]
            assert (await one.until(job, "failed"))["error"]["code"] == "drawing_failed"
            assert len(drawers.asked) == 6
            assert failed["artifact_digest"] is None

    asyncio.run(scenario())


def has_begun(drawers: SlowDrawers, number: int) -> bool:
    return drawers.begun >= number


def test_a_job_that_takes_its_holders_down_is_given_up(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.jobs.serve.jobs.worker.MAX_LOST", 2)
    monkeypatch.setattr("darkroom.jobs.serve.jobs.lease.LEASE_SECONDS", 0.2)

    async def scenario() -> None:
        drawers = SlowDrawers(most=0)
        async with replica(local_uri, drawers, idle=True) as one:
            job = (await one.post(SEVEN)).json()["id"]
            for number in (1, 2):
                async with replica(local_uri, drawers) as dying:
                    await eventually(partial(has_begun, drawers, number))
                    await dying.lose()
            async with one.api.jobs.running():
                assert (await one.until(job, "failed"))["error"]["code"] == "given_up"

    asyncio.run(scenario())


def test_a_damaged_entry_holds_up_nobody(store_uri: str, darkroom_log: list[str]) -> None:
    async def scenario() -> None:
        open_store(store_uri).put(f"open/job_{'0' * 32}.anyone.json", b"{")
        open_store(store_uri).put("open/notes.txt", b"not ours")
        async with replica(store_uri, FakeDrawers()) as one:
            job = (await one.post(SEVEN)).json()["id"]
            await one.until(job, "completed")

    asyncio.run(scenario())
    assert any("is left alone" in line for line in darkroom_log)


def test_a_crash_after_the_end_is_tidied_up(store_uri: str) -> None:
    async def scenario() -> None:
        async with replica(store_uri, FakeDrawers()) as one:
            job = (await one.post(SEVEN)).json()["id"]
            await one.until(job, "completed")
            await eventually(lambda: not one.worker._held)
            place = JobsPlace(store_uri, days=1)
            asked = place.asked("anyone", job)
            assert asked is not None
            place.store.delete(keys_of(store_uri, "kept/"))
            place.reopen(asked)
            one.worker.look()
            await eventually(lambda: not keys_of(store_uri, "open/"))
            assert len(keys_of(store_uri, "kept/")) == 1
            assert len(keys_of(store_uri, "manifest.json")) == 1

    asyncio.run(scenario())


def test_a_store_that_fails_for_a_moment_costs_no_picture(
    local_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, faults = JobPictures.commit, 3

    def failing(pictures: JobPictures, *given: Any) -> KeptPicture:
        nonlocal faults
        faults -= 1
        if faults >= 0:
            raise StorageError("the server answered 500")
        return real(pictures, *given)

    monkeypatch.setattr(JobPictures, "commit", failing)

    async def scenario() -> None:
        async with replica(local_uri, SlowDrawers()) as one:
            job = (await one.post({**SEVEN, "n": 4})).json()["id"]
            each_once(local_uri, await one.until(job, "completed"))
        assert faults < 0

    asyncio.run(scenario())


def test_a_short_job_does_not_wait_for_a_long_one(local_uri: str, tmp_path: Path) -> None:
    ann, bob = "sk-ann-" + "a" * 32, "sk-bob-" + "b" * 32
    (tmp_path / "keys").write_text(f"ann {ann}\nbob {bob}\n")
    keys = f"{tmp_path}/keys"

    def bearer(key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"}

    async def scenario() -> None:
        drawers = SlowDrawers(step_seconds=0.01)
        async with (
            replica(local_uri, drawers, headers=bearer(ann), keys=keys) as one,
            client_of(one.api, bearer(bob)) as client,
        ):
            long = [(await one.post({**SEVEN, "n": 60})).json()["id"] for _ in range(6)]
            await one.until(long[0], "running", done=1)
            short = Replica(one.api, client)
            job = (await short.post(SEVEN)).json()["id"]
            one.worker.drop(long[1])  # a place that comes free is his who has none
            await short.until(job, "completed")
            assert (await one.job(long[0]))["status"] == "running"

    asyncio.run(scenario())
