"""A service whose replica is killed, and one that is stopped, with requests under way."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from tests.helpers.serve_runs import LONG, Service, eventually


def test_a_replica_that_dies_fails_no_request_that_it_was_drawing(service: Service) -> None:
    expected = service.post({**LONG, "n": 2, "seed": 5}).json()["data"]
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(service.post, {**LONG, "n": 2, "seed": 5})
        eventually(lambda: service.stats()["drawing"] > 0 or answer.done())
        os.kill(service.stats()["pid"], signal.SIGKILL)
        response = answer.result()
    assert response.status_code == 200, response.text
    assert [each["b64_json"] for each in response.json()["data"]] == [
        each["b64_json"] for each in expected
    ]


def test_stopping_finishes_what_is_under_way_and_takes_nothing_new(service: Service) -> None:
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(service.post, LONG)
        eventually(lambda: service.stats()["drawing"] > 0 or answer.done())
        stopping = pool.submit(service.stop)
        # Whoever is let in before the service knows may wait until it is no longer there.
        ready = f"{service.address}/readyz"
        eventually(lambda: httpx2.get(ready, timeout=300).status_code == 503)
        refused = service.post({"steps": 1})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
        assert len(answer.result().json()["data"]) == 10
        stopping.result()
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{service.address}/healthz")
