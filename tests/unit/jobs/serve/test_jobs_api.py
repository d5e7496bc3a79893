"""`/v1/jobs` over HTTP with fake drawers and a real store: who asks what, and what is answered."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.helpers.certificates import manifest_of, signing_files
from tests.helpers.serving import DIGITS, FakeDrawers
from tests.helpers.serving_jobs import (
    PATH,
    SEVEN,
    SlowDrawers,
    drawers_of,
    keys_of,
    published_model,
    replica,
)

from darkroom.errors import StorageError
from darkroom.jobs.artifacts.drawings import DrawingsInfo
from darkroom.jobs.serve.jobs.place import JobsPlace
from darkroom.jobs.serve.jobs.publishing import cancel
from darkroom.storage import gc, lineage, open_artifact, open_store
from darkroom.storage.manifest import sealed_json

pytestmark = pytest.mark.usefixtures("quick_jobs")

ANN, BOB = "sk-ann-" + "a" * 32, "sk-bob-" + "b" * 32
WEBP = {"output_format": "webp", "output_compression": 100}
BAD, NOT_HERE = "invalid_value", "unsupported_value"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def keys(tmp_path: Path) -> str:
    (tmp_path / "keys").write_text(f"ann {ANN}\nbob {BOB}\n")
    return f"{tmp_path}/keys"


def test_with_a_key_a_jobs_pictures_are_signed(store_uri: str, tmp_path: Path) -> None:
    drawers = drawers_of(published_model(tmp_path / "model"))

    async def scenario() -> None:
        async with replica(store_uri, drawers, signing=signing_files(tmp_path / "key")) as one:
            job = (await one.post(SEVEN)).json()
            done = await one.until(job["id"], "completed")
            answer = await one.client.get(done["data"][0]["url"])
            assert manifest_of(answer.content, "image/png")["state"] == "Valid"

    asyncio.run(scenario())


def test_a_job_is_drawn_kept_and_leads_back_to_its_model(store_uri: str, tmp_path: Path) -> None:
    model = published_model(tmp_path / "model")

    async def scenario() -> None:
        async with replica(store_uri, drawers_of(model)) as one:
            asked = await one.post({**SEVEN, "n": 5, "index": 3, **WEBP})
            assert asked.status_code == 202, asked.text
            job = asked.json()
            assert job["status"] in ("queued", "running")
            assert asked.headers["location"] == f"{PATH}/{job['id']}"
            assert (job["object"], job["n"], job["seed"]) == ("image_generation.job", 5, 40)
            done = await one.until(job["id"], "completed")
            assert done["progress"] == {"total": 5, "done": 5, "failed": 0}
            assert done["error"] is None
            assert done["expires_at"] - done["ended_at"] == 7 * 86_400
            assert [each["index"] for each in done["data"]] == [3, 4, 5, 6, 7]
            for number, each in enumerate(done["data"]):
                answer = await one.client.get(each["url"])
                assert answer.headers["content-type"] == "image/webp"
                with Image.open(io.BytesIO(answer.content)) as image:
                    assert np.asarray(image.convert("L"))[0, 0] == 43 + number
                    assert b"trainedAlgorithmicMedia" in image.info["xmp"]
            assert (await one.client.get(f"{PATH}/{job['id']}/pictures/5")).status_code == 404
            artifact = open_artifact(f"{store_uri}/keys/anyone/{job['id']}")
            assert artifact.digest == done["artifact_digest"]
            info = DrawingsInfo.of(artifact)
            assert (info.num_pictures, info.num_failed) == (5, 0)
            assert info.model_digests == (DIGITS.digest,)
            tree = lineage(f"{artifact.uri}/pictures/00002.webp")
            assert tree.ok
            assert [each.uri for each in tree.root.parents] == [str(model.uri)]
            assert tree.text().splitlines()[-1] == "every digest verified"
            assert len(keys_of(store_uri, ".webp")) == 5, "pictures are stored once"
            assert not gc(store_uri).garbage
            assert not keys_of(store_uri, "open/job_")

    asyncio.run(scenario())


def test_another_keys_job_is_not_there(local_uri: str, keys: str) -> None:
    async def scenario() -> None:
        drawers = FakeDrawers()
        async with (
            replica(local_uri, drawers, headers=bearer(ANN), keys=keys) as ann,
            replica(local_uri, drawers, headers=bearer(BOB), keys=keys) as bob,
            replica(local_uri, drawers, idle=True, keys=keys) as nobody,
        ):
            job = (await ann.post(SEVEN)).json()["id"]
            await ann.until(job, "completed")
            for path in (f"{PATH}/{job}", f"{PATH}/{job}/pictures/0"):
                assert (await ann.client.get(path)).status_code == 200
                assert (await bob.client.get(path)).status_code == 404
                assert (await nobody.client.get(path)).status_code == 401
            refused = await bob.client.get(f"{PATH}/{job}")
            none = await bob.client.get(f"{PATH}/job_{'0' * 32}")
            codes = {each.json()["error"]["code"] for each in (refused, none)}
            assert codes == {"job_not_found"}
            assert (await bob.client.delete(f"{PATH}/{job}")).status_code == 404
            assert (await bob.client.get(PATH)).json()["data"] == []
            assert [each["id"] for each in (await ann.client.get(PATH)).json()["data"]] == [job]
            assert (await nobody.client.get(PATH)).status_code == 401
            assert (await nobody.post(SEVEN)).status_code == 401
            assert (await ann.client.get(f"{PATH}/{job}/pictures/0")).status_code == 200

    asyncio.run(scenario())


def test_an_idempotency_key_makes_one_job(store_uri: str, keys: str) -> None:
    async def scenario() -> None:
        async with (
            replica(store_uri, FakeDrawers(), headers=bearer(ANN), idle=True, keys=keys) as ann,
            replica(store_uri, FakeDrawers(), headers=bearer(BOB), idle=True, keys=keys) as bob,
        ):
            first = await ann.post(SEVEN, "k 1")
            again = await ann.post({**SEVEN, "model": None}, "k 1")
            assert (first.status_code, again.status_code) == (202, 200)
            assert first.json() == again.json()
            other = await ann.post({**SEVEN, "n": 2}, "k 1")
            assert other.status_code == 422
            error = other.json()["error"]
            assert (error["code"], error["param"]) == ("idempotency_key_reused", "Idempotency-Key")
            ids = {first.json()["id"]}
            for asker, key in ((bob, "k 1"), (ann, "k 2"), (ann, None), (ann, None)):
                ids.add((await asker.post(SEVEN, key)).json()["id"])
            assert len(ids) == 5
            at_once = await asyncio.gather(*(ann.post(SEVEN, "k 3") for _ in range(6)))
            assert len({each.json()["id"] for each in at_once}) == 1
            assert sorted(each.status_code for each in at_once) == [200] * 5 + [202]
            for wrong in ("", "x" * 256, "\x7f"):
                refused = await ann.post(SEVEN, wrong)
                assert (refused.status_code, refused.json()["error"]["param"]) == (
                    400,
                    "Idempotency-Key",
                )

    asyncio.run(scenario())


def test_a_crash_before_the_job_is_written_is_healed_by_the_next_request(
    store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = JobsPlace.write

    def die(place: JobsPlace, asked: Any) -> Any:
        place.reopen(asked)
        raise StorageError("it died here")

    async def scenario() -> None:
        async with replica(store_uri, SlowDrawers()) as one:
            monkeypatch.setattr(JobsPlace, "write", die)
            failed = await one.post(SEVEN, "k")
            assert (failed.status_code, failed.json()["error"]["code"]) == (503, "jobs_unavailable")
            assert "died" not in failed.text
            assert (await one.client.get(PATH)).json()["data"] == []
            monkeypatch.setattr(JobsPlace, "write", real)
            healed = await one.post(SEVEN, "k")
            assert healed.status_code == 202
            (entry,) = keys_of(store_uri, "open/") or [healed.json()["id"]]
            assert healed.json()["id"] in entry
            await one.until(healed.json()["id"], "completed")
            assert (await one.post(SEVEN, "k")).json()["id"] == healed.json()["id"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "param", "code", "words"),
    [
        ({**SEVEN, "n": 101}, "n", BAD, "from 1 to 100"),
        ({**SEVEN, "n": 0}, "n", BAD, "from 1 to 100"),
        ({**SEVEN, "stream": True}, "stream", "unsupported_parameter", "ask for the job's state"),
        ({**SEVEN, "partial_images": 1}, "partial_images", BAD, "stream"),
        ({**SEVEN, "response_format": "b64_json"}, "response_format", NOT_HERE, "addresses"),
        ({"prompt": "seven"}, "prompt", "unknown_class", "known"),
        ({"promt": "7"}, "promt", "unknown_parameter", "did you mean 'prompt'"),
        ({**SEVEN, "steps": "2"}, "steps", "invalid_type", "integer"),
        ([], None, "invalid_json", "object"),
    ],
)
def test_what_cannot_be_honoured_is_refused_and_not_kept(
    body: Any, param: str | None, code: str, words: str, local_uri: str
) -> None:
    async def scenario() -> None:
        async with replica(local_uri, FakeDrawers(), idle=True) as one:
            response = await one.post(body)
            error = response.json()["error"]
            assert (response.status_code, error["param"], error["code"]) == (400, param, code)
            assert words in error["message"]

    asyncio.run(scenario())
    assert keys_of(local_uri) == []


def test_addresses_of_nothing_are_404_and_bad_lists_400(local_uri: str) -> None:
    async def scenario() -> None:
        async with replica(local_uri, FakeDrawers(), idle=True) as one:
            job = (await one.post({**SEVEN, "response_format": "url"})).json()["id"]
            for number in ("0", "1", "-1", "x", "9" * 30, "\u0663"):
                answer = await one.client.get(f"{PATH}/{job}/pictures/{number}")
                assert answer.status_code == 404
                assert answer.json()["error"]["code"] == "picture_not_found"
            for name in ("x", "job_1", "..%2Fanyone", "job_" + "G" * 32):
                assert (await one.client.get(f"{PATH}/{name}")).status_code == 404
            for query in ("limit=0", "limit=101", "limit=x", "after=x"):
                assert (await one.client.get(f"{PATH}?{query}")).status_code == 400
            assert (await one.client.put(f"{PATH}/{job}", json={})).status_code == 405

    asyncio.run(scenario())


def with_one_field_more(sealed: bytes) -> bytes:
    """A record as a newer release writes it."""
    values = json.loads(sealed)
    del values["seal"]
    return sealed_json({**values, "mood": "blue"})


@pytest.mark.parametrize("name", ["job.json", "end.json", "commits/000000.json"])
@pytest.mark.parametrize("damage", [lambda _: b"{", with_one_field_more])
def test_a_job_that_cannot_be_read_hides_no_other(
    name: str, damage: Callable[[bytes], bytes], local_uri: str, darkroom_log: list[str]
) -> None:
    async def scenario() -> None:
        store = open_store(local_uri)
        async with replica(local_uri, FakeDrawers(), idle=True) as one:
            ids = [(await one.post({**SEVEN, "seed": seed})).json()["id"] for seed in range(3)]
            place = JobsPlace(local_uri, days=1)
            asked = place.asked("anyone", ids[1])
            assert asked is not None
            if name == "end.json":
                cancel(place, asked, [])
            part = f"attempts/{asked.attempt}/{name}" if name.startswith("commits") else name
            key = f"keys/anyone/{ids[1]}/{part}"
            there = keys_of(local_uri, key)
            assert bool(there) == (name in ("job.json", "end.json"))
            store.put(key, damage(store.get(key) if there else sealed_json({"version": 1})))
            for query, most in (("", 20), ("?limit=1", 1)):
                listed = (await one.client.get(f"{PATH}{query}")).json()
                shown = [each["id"] for each in listed["data"]]
                assert shown == sorted({ids[0], ids[2]}, reverse=True)[:most]
                assert listed["has_more"] == (most == 1)
            assert (await one.client.get(f"{PATH}/{ids[1]}")).status_code == 503

    asyncio.run(scenario())
    assert any("is not listed" in line and str(name) in line for line in darkroom_log)


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_who_a_client_asks_for_is_not_kept(field: str, store_uri: str) -> None:
    async def scenario() -> None:
        async with replica(store_uri, FakeDrawers(), idle=True) as one:
            asked = await one.post({**SEVEN, field: "ann@example.org"}, "k")
            assert asked.status_code == 202
            job = asked.json()
            assert job["request"] == SEVEN
            again = await one.post({**SEVEN, field: "bob@example.org"}, "k")
            assert (again.status_code, again.json()["id"]) == (200, job["id"])
            refused = await one.post({**SEVEN, field: 7})
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
            store = open_store(store_uri)
            assert not any(b"example.org" in store.get(key) for key in keys_of(store_uri))

    asyncio.run(scenario())


def test_a_list_is_the_newest_first_in_pages(store_uri: str) -> None:
    async def scenario() -> None:
        async with replica(store_uri, FakeDrawers(), idle=True) as one:
            ids = []
            for seed in range(5):
                ids.append((await one.post({**SEVEN, "seed": seed})).json()["id"])
                await asyncio.sleep(0.002)  # ids sort by the millisecond
            ids.reverse()
            first = (await one.client.get(f"{PATH}?limit=2")).json()
            assert [each["id"] for each in first["data"]] == ids[:2]
            assert (first["has_more"], first["last_id"]) == (True, ids[1])
            assert "data" not in first["data"][0]
            rest = (await one.client.get(f"{PATH}?limit=3&after={ids[1]}")).json()
            assert [each["id"] for each in rest["data"]] == ids[2:]
            assert not rest["has_more"]

    asyncio.run(scenario())


def test_open_jobs_of_a_key_are_bounded(local_uri: str) -> None:
    async def scenario() -> None:
        async with replica(local_uri, FakeDrawers(), idle=True, jobs={"open_per_key": 2}) as one:
            ids = [(await one.post(SEVEN)).json()["id"] for _ in range(2)]
            full = await one.post(SEVEN)
            assert (full.status_code, full.json()["error"]["code"]) == (429, "job_limit_exceeded")
            assert full.headers["retry-after"] == "30"
            await one.client.delete(f"{PATH}/{ids[0]}")
            assert (await one.post(SEVEN)).status_code == 202

    asyncio.run(scenario())


def test_without_a_place_there_are_no_jobs_and_a_stopping_service_takes_none(
    local_uri: str,
) -> None:
    async def scenario() -> None:
        async with replica(None, FakeDrawers()) as none:
            for answer in (await none.post(SEVEN), await none.client.get(PATH)):
                assert answer.status_code == 404
                assert answer.json()["error"]["code"] == "jobs_not_set_up"
                assert "jobs.place" in answer.json()["error"]["message"]
        async with replica(local_uri, FakeDrawers()) as stopping:
            stopping.api.draining = True
            refused = await stopping.post(SEVEN)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")

    asyncio.run(scenario())


@pytest.mark.usefixtures("s3")
def test_a_store_that_fails_is_told_without_its_name() -> None:
    async def scenario() -> None:
        async with replica("s3://no-such-bucket-here/jobs", FakeDrawers()) as one:
            refused = await one.post(SEVEN)
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                503,
                "jobs_unavailable",
            )
            assert "bucket" not in refused.text
            assert refused.headers["retry-after"] == "5"

    asyncio.run(scenario())


def test_clients_are_not_told_where_models_lie(local_uri: str, tmp_path: Path) -> None:
    model = published_model(tmp_path / "model")

    async def scenario() -> None:
        async with replica(local_uri, drawers_of(model)) as one:
            job = (await one.post(SEVEN)).json()["id"]
            await one.until(job, "completed")
            for path in (f"{PATH}/{job}", PATH, "/v1/models"):
                text = json.dumps((await one.client.get(path)).json())
                assert str(tmp_path) not in text

    asyncio.run(scenario())
