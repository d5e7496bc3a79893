"""Proof: a job of 20 on Ray Serve whose replica is killed midway has each picture once.

Two HTTP replicas and one that draws. The HTTP replica that holds the job's lease is killed by
SIGKILL; another goes on when the lease has lapsed. Then the same with the replica that draws, and
with the whole service stopped and started again. Each picture is byte for byte that of a request.
`build/proofs/serve-jobs-*.json` has what it took.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from tests.helpers.proof import write_json
from tests.helpers.serve_runs import KEY, Service, service_in

from darkroom.storage import lineage, open_artifact, open_store

NUM_PICTURES = 20
BODY = {"prompt": "7", "seed": 5, "steps": 100, "sampler": "ddpm", "exact": True}
HEADERS = {"authorization": f"Bearer {KEY}"}


def ask(service: Service, method: str, path: str, **options: Any) -> httpx2.Response:
    """An answer; a replica that was just killed gives none, so it is asked for again."""
    while True:
        try:
            url = f"{service.address}{path}"
            answer = httpx2.request(method, url, headers=HEADERS, timeout=60, **options)
        except httpx2.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code < 500:
            return answer
        time.sleep(0.1)


def num_done(service: Service, job: str) -> int:
    done: int = ask(service, "GET", f"/v1/jobs/{job}").json()["progress"]["done"]
    return done


def kill_http(service: Service, place: str) -> None:
    """The process that holds the lease of the one open job."""
    store = open_store(place)
    (entry,) = store.list("open/")
    holder = json.loads(store.get(entry.key))["holder"]
    os.kill(int(holder.split("/")[1]), signal.SIGKILL)


def kill_drawing(service: Service, place: str) -> None:
    os.kill(service.stats()["pid"], signal.SIGKILL)


def disturbed(
    service: Service, place: str, kill: Callable[[Service, str], None]
) -> tuple[list[bytes], dict[str, Any]]:
    """The pictures of a job during which somebody is killed, and what that took."""
    body = {**BODY, "n": NUM_PICTURES}
    asked = ask(service, "POST", "/v1/jobs", json=body)
    assert asked.status_code == 202, asked.text
    job = asked.json()["id"]
    while (before := num_done(service, job)) < NUM_PICTURES // 3:
        time.sleep(0.1)
    kill(service, place)
    killed_at = time.monotonic()
    while num_done(service, job) <= before + 2:  # those under way may have been committed
        time.sleep(0.1)
    resumed = time.monotonic() - killed_at
    while (found := ask(service, "GET", f"/v1/jobs/{job}").json())["ended_at"] is None:
        time.sleep(0.2)
    assert found["status"] == "completed", found
    assert [each["picture"] for each in found["data"]] == list(range(NUM_PICTURES))
    folder = f"{place}/keys/team/{job}"
    keys = [info.key for info in open_store(folder).list("attempts/")]
    assert sum("/commits/" in key for key in keys) == NUM_PICTURES
    artifact = open_artifact(folder)
    assert len({entry.name for entry in artifact.manifest.files}) == NUM_PICTURES
    tree = lineage(f"{folder}/pictures/00013.png")
    assert tree.ok, tree.text()
    assert [each.uri for each in tree.root.parents] == [f"file://{service.model}"]
    pictures = [ask(service, "GET", each["url"]).content for each in found["data"]]
    return pictures, {
        "killed": kill.__name__.removeprefix("kill_"),
        "done_before": before,
        "resumed_after_seconds": round(resumed, 1),
        "files_of_no_picture": sum("/pictures/" in key for key in keys) - NUM_PICTURES,
    }


def restarted(service: Service, place: str) -> list[bytes]:
    """The pictures of a job during which the whole service is stopped and started again."""
    job = ask(service, "POST", "/v1/jobs", json={**BODY, "n": NUM_PICTURES}).json()["id"]
    while num_done(service, job) < NUM_PICTURES // 3:
        time.sleep(0.1)
    service.stop()
    store = open_store(place)
    (entry,) = store.list("open/")
    assert json.loads(store.get(entry.key))["holder"] is None, "it was not handed back"
    service.start()
    while (found := ask(service, "GET", f"/v1/jobs/{job}").json())["ended_at"] is None:
        time.sleep(0.2)
    assert found["status"] == "completed", found
    return [ask(service, "GET", each["url"]).content for each in found["data"]]


@pytest.fixture(scope="module")
def place(s3_module_uri: str) -> str:
    """Where the jobs are kept."""
    return s3_module_uri


@pytest.fixture(scope="module")
def jobs_service(
    ray_local: str, place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    settings = {"jobs": {"place": place}, "http_replicas": 2, "limits": {"max_images": 20}}
    with service_in(tmp_path_factory.mktemp("served"), **settings) as service:
        yield service


@pytest.fixture(scope="module")
def expected(jobs_service: Service) -> list[bytes]:
    """The pictures, as a request draws them."""
    jobs_service.start()
    alone = jobs_service.post({**BODY, "n": NUM_PICTURES}).json()["data"]
    return [base64.b64decode(each["b64_json"]) for each in alone]


@pytest.mark.parametrize("kill", [kill_http, kill_drawing])
def test_a_killed_replicas_job_has_each_picture_once(
    kill: Callable[[Service, str], None], jobs_service: Service, place: str, expected: list[bytes]
) -> None:
    jobs_service.start()
    pictures, took = disturbed(jobs_service, place, kill)
    assert pictures == expected
    write_json(f"serve-jobs-{kill.__name__}", took)


def test_a_stopped_services_job_goes_on_when_it_is_started_again(
    jobs_service: Service, place: str, expected: list[bytes]
) -> None:
    jobs_service.start()
    assert restarted(jobs_service, place) == expected
